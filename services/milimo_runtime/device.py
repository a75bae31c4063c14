"""What a device can do: which element type each part of a model uses where.

One table, by device, so that no `if device == "mps"` stands elsewhere. The module names element types by string and
imports torch only to detect what is at hand: a plan is pure and can be asserted for a device that is not there.

Devices have ids such as "cuda:1", "mps:0" and "cpu:0", as the arbiter grants them; what stands before the colon is the
kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

from milimo_runtime.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import torch

DeviceKind = Literal["cuda", "mps", "cpu"]

# Grades of manifests, and the element type in which each has its weights. Other grades cannot be loaded.
ELEMENT_TYPES: Mapping[str, str] = MappingProxyType({"bf16": "bfloat16", "fp16": "float16", "float32": "float32"})
# Grades that a loader may know besides: large layers stored in fp8, or brought to the device block by block; each with
# the element type in which it computes.
FP8: Final = "fp8"
STREAMED: Final = "streamed"
SMALLER_GRADES: Mapping[str, str] = MappingProxyType({FP8: "bfloat16", STREAMED: "bfloat16"})


class GradeUnknown(FailedPrecondition):
    """A model's manifest offers a grade in which no loader can load it."""

    default_reason = "GRADE_UNKNOWN"

    def __init__(self, model: str, *grades: str, known: Iterable[str]) -> None:
        super().__init__(
            f"the model {model} cannot be loaded as {', '.join(map(repr, grades))}: footprints that can be are "
            f"{', '.join(known)}; add one of them to its model.toml",
            metadata={"model": model, "footprints": ",".join(grades)},
        )


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a part of a model lives and computes: a device and the name of a torch element type."""

    device: str
    dtype: str

    def torch_dtype(self) -> torch.dtype:
        import torch

        dtype = getattr(torch, self.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """How the models run on a device.

    `parts` maps "model.part" to its placement; a part that is not listed uses `default`.
    """

    kind: DeviceKind
    default: Placement
    parts: Mapping[str, Placement] = field(default_factory=lambda: MappingProxyType({}))
    # Whether weights can be stored in fp8 there, and whether those of this plan are, or come block by block.
    allows_fp8: bool = False
    stores_fp8: bool = False
    streams: bool = False
    # Element types that the device lacks, and what stands in for them.
    casts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # Reference images for one generation, and pixels of each when there are several.
    max_references: int = 10
    reference_pixels_single: int = 2024 * 2024
    reference_pixels_several: int = 1024 * 1024
    # Restricts scaled dot product attention to the MATH backend where fused kernels are missing.
    math_attention: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def placement(self, part: str) -> Placement:
        """The placement of `part`, for example "ltx-2.vae"."""
        return self.parts.get(part, self.default)


_PLANS: Mapping[DeviceKind, DevicePlan] = {
    "cuda": DevicePlan(kind="cuda", default=Placement(device="cuda", dtype="bfloat16"), allows_fp8=True),
    "mps": DevicePlan(
        kind="mps",
        default=Placement(device="mps", dtype="float16"),
        parts=MappingProxyType(
            {
                # LTX-2's VAE decodes to black frames below float32.
                "ltx-2.vae": Placement(device="mps", dtype="float32"),
                # FLUX.2 gives NaN below float32, and its decoder gives black images on the device.
                "flux-2.transformer": Placement(device="mps", dtype="float32"),
                "flux-2.vae": Placement(device="cpu", dtype="float32"),
            }
        ),
        casts=MappingProxyType({"bfloat16": "float16"}),
        max_references=3,
        reference_pixels_single=768 * 768,
        reference_pixels_several=768 * 768,
        math_attention=True,
        environment=MappingProxyType({"PYTORCH_ENABLE_MPS_FALLBACK": "1"}),
    ),
    "cpu": DevicePlan(kind="cpu", default=Placement(device="cpu", dtype="float32"), allows_fp8=True),
}


def device_kind(device: str) -> DeviceKind:
    """The kind of a device's id: "cuda" of "cuda:1". Raises ValueError when there is no such kind."""
    name = device.partition(":")[0]
    for kind in get_args(DeviceKind):
        if name == kind:
            return kind  # type: ignore[no-any-return]
    raise ValueError(f"models run on {', '.join(get_args(DeviceKind))}, not on {device!r}")


def torch_device(device: str) -> str:
    """The device as torch calls it: it numbers those of CUDA only; of the others there is one."""
    kind = device_kind(device)
    return device if kind == "cuda" else kind


def device_plan(device: str) -> DevicePlan:
    """The plan for a device by its id, such as "cuda:1", or for a kind of device. Raises ValueError for others."""
    plan = _PLANS[device_kind(device)]

    def there(placement: Placement) -> Placement:
        # What is kept off the device stays off it.
        return replace(placement, device=torch_device(device)) if placement.device == plan.kind else placement

    return replace(
        plan,
        default=there(plan.default),
        parts=MappingProxyType({part: there(placement) for part, placement in plan.parts.items()}),
    )


def runs_on(kind: DeviceKind, grade: str, grades: Collection[str] = ELEMENT_TYPES) -> bool:
    """Whether a model can be loaded in `grade` on such a device by a loader that knows `grades`."""
    return grade in grades and (grade != FP8 or _PLANS[kind].allows_fp8)


def grades_on(kind: DeviceKind, grades: Collection[str] = ELEMENT_TYPES) -> list[str]:
    """Those of `grades` in which a model can be loaded on such a device, by name."""
    return sorted(grade for grade in grades if runs_on(kind, grade, grades))


def granted_plan(device: str, grade: str, *, model: str, grades: Collection[str] = ELEMENT_TYPES) -> DevicePlan:
    """The plan for a model that was granted a device, in a grade of its manifest that its loader knows (`grades`).

    The weights have the grade's element type, except for parts that compute right in another one only. Raises
    GradeUnknown.
    """
    kind = device_kind(device)
    if not runs_on(kind, grade, grades):
        raise GradeUnknown(model, grade, known=grades_on(kind, grades))
    plan = device_plan(device)
    dtype = {**ELEMENT_TYPES, **SMALLER_GRADES}[grade]
    return replace(
        plan,
        default=replace(plan.default, dtype=plan.casts.get(dtype, dtype)),
        stores_fp8=grade == FP8,
        streams=grade == STREAMED,
    )


def detect_device() -> DeviceKind:
    """The best device at hand: cuda, then mps, then cpu. Imports torch."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
