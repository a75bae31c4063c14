"""Which plan is made for which device and grade; none of the devices need be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from milimo_runtime.device import (
    ELEMENT_TYPES,
    SMALLER_GRADES,
    GradeUnknown,
    Placement,
    device_plan,
    granted_plan,
)
from milimo_runtime.lease_terms import Grade
from milimo_runtime.model_process import grades_of
from milimo_runtime.registry import InstalledModel, Manifest, ModelFootprint

if TYPE_CHECKING:
    from milimo_runtime.device import DeviceKind

# Device, part: where it goes when nothing is said of a grade.
PLACES = {
    ("cuda:0", "ltx-2.vae"): Placement(device="cuda:0", dtype="bfloat16"),
    ("cuda:1", "ltx-2.vae"): Placement(device="cuda:1", dtype="bfloat16"),
    ("cuda:17", "flux-2.vae"): Placement(device="cuda:17", dtype="bfloat16"),
    ("cuda", "flux-2.vae"): Placement(device="cuda", dtype="bfloat16"),
    ("cpu:0", "sam-3.tracker"): Placement(device="cpu", dtype="float32"),
    ("cpu", "sam-3.tracker"): Placement(device="cpu", dtype="float32"),
    ("mps:0", "ltx-2.transformer"): Placement(device="mps", dtype="float16"),
    ("mps:0", "ltx-2.vae"): Placement(device="mps", dtype="float32"),
    ("mps:0", "flux-2.transformer"): Placement(device="mps", dtype="float32"),
    ("mps:0", "flux-2.vae"): Placement(device="cpu", dtype="float32"),
}


@pytest.mark.parametrize(("device", "part"), PLACES)
def test_a_part_goes_to_the_device_of_the_plan(device: str, part: str) -> None:
    assert device_plan(device).placement(part) == PLACES[device, part]


@pytest.mark.parametrize("device", ["rocm:0", "", ":1", "cuda0"])
def test_there_is_no_plan_for_other_devices(device: str) -> None:
    with pytest.raises(ValueError, match=r"cuda, mps, cpu"):
        device_plan(device)


# Device, grade: the element type of what the device has no rule for.
ELEMENTS = {
    ("cuda:0", "bf16"): "bfloat16",
    ("cuda:1", "float32"): "float32",
    ("cuda:1", "fp16"): "float16",
    ("cpu:0", "bf16"): "bfloat16",
    ("cpu:0", "float32"): "float32",
    ("mps:0", "bf16"): "float16",
    ("mps:0", "float32"): "float32",
}


@pytest.mark.parametrize(("device", "grade"), ELEMENTS)
def test_weights_have_the_element_type_of_the_grade(device: str, grade: str) -> None:
    plan = granted_plan(device, grade, model="real/ltx-2")
    bare = device_plan(device)
    assert plan.default == Placement(device=bare.default.device, dtype=ELEMENTS[device, grade])
    assert (plan.kind, plan.parts, plan.environment) == (bare.kind, bare.parts, bare.environment)


@pytest.mark.parametrize("device", ["cuda:0", "cpu:0", "mps:0"])
@pytest.mark.parametrize("grade", ["fp8", "streamed", "whole", ""])
def test_a_grade_that_cannot_be_loaded_is_refused_by_name(device: str, grade: str) -> None:
    with pytest.raises(GradeUnknown, match="real/ltx-2") as caught:
        granted_plan(device, grade, model="real/ltx-2")
    assert repr(grade) in caught.value.message
    assert all(known in caught.value.message for known in ELEMENT_TYPES)
    assert (caught.value.status, caught.value.metadata["footprints"]) == ("FAILED_PRECONDITION", grade)


# Device, grade: the element type that is computed with, whether weights are stored in fp8, whether they are streamed.
SMALLER = {
    ("cuda:0", "fp8"): ("bfloat16", True, False),
    ("cpu:0", "fp8"): ("bfloat16", True, False),
    ("cuda:1", "streamed"): ("bfloat16", False, True),
    ("cpu:0", "streamed"): ("bfloat16", False, True),
    ("mps:0", "streamed"): ("float16", False, True),
    ("cuda:0", "bf16"): ("bfloat16", False, False),
}
VIDEO_GRADES = {*ELEMENT_TYPES, *SMALLER_GRADES}


@pytest.mark.parametrize(("device", "grade"), SMALLER)
def test_smaller_grades_are_planned_for_loaders_that_know_them(device: str, grade: str) -> None:
    plan = granted_plan(device, grade, model="real/ltx-2", grades=VIDEO_GRADES)
    assert (plan.default.dtype, plan.stores_fp8, plan.streams) == SMALLER[device, grade]
    # What computes right in one element type only keeps it.
    assert plan.parts == device_plan(device).parts


def test_there_is_no_fp8_on_mps() -> None:
    with pytest.raises(GradeUnknown, match="can be are bf16, float32, fp16, streamed;"):
        granted_plan("mps:0", "fp8", model="real/ltx-2", grades=VIDEO_GRADES)


# What of bf16, fp8 and streamed is asked for where.
ASKED: dict[DeviceKind, list[str]] = {
    "cuda": ["bf16", "fp8", "streamed"],
    "cpu": ["bf16", "fp8", "streamed"],
    "mps": ["bf16", "streamed"],
}


@pytest.mark.parametrize("kind", ASKED)
def test_each_device_is_asked_for_what_it_can_do(kind: DeviceKind) -> None:
    asked = grades_of(installed("bf16", "fp8", "streamed"), kind, VIDEO_GRADES)
    assert [grade.name for grade in asked] == ASKED[kind]


def test_the_table_of_devices() -> None:
    facts = {kind: device_plan(kind) for kind in ASKED}
    assert {kind: plan.allows_fp8 for kind, plan in facts.items()} == {"cuda": True, "cpu": True, "mps": False}
    assert {kind for kind, plan in facts.items() if plan.math_attention} == {"mps"}
    assert {kind for kind, plan in facts.items() if plan.environment} == {"mps"}
    assert facts["mps"].environment == {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    assert [facts[kind].max_references for kind in ("cuda", "cpu", "mps")] == [10, 10, 3]
    assert [facts[kind].reference_pixels_several for kind in ("cuda", "mps")] == [1024**2, 768**2]


def installed(*grades: str) -> InstalledModel:
    manifest = Manifest(
        name="ltx-2",
        family="real",
        purpose="video",
        checkpoint="distilled",
        license="",
        note="",
        advice="",
        footprints=[ModelFootprint(name=grade, bytes=10 - rank) for rank, grade in enumerate(grades)],
        files=[],
    )
    return InstalledModel(manifest=manifest, root=Path("nowhere"))


@pytest.mark.parametrize("kind", ["cuda", "mps", "cpu"])
def test_only_grades_that_can_be_loaded_are_asked_for_and_only_where_the_model_runs(kind: DeviceKind) -> None:
    assert grades_of(installed("bf16", "fp8", "fp16"), kind) == [
        Grade(name="bf16", bytes=10, devices=(kind,)),
        Grade(name="fp16", bytes=8, devices=(kind,)),
    ]


def test_a_model_of_which_no_grade_can_be_loaded_is_refused() -> None:
    with pytest.raises(GradeUnknown, match="'fp8', 'streamed'"):
        grades_of(installed("fp8", "streamed"), "cuda")
