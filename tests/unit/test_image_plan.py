"""Plans of image generation: sizes, steps, seeds, stages, notices and the refusal of wrong requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from milimo_image import defaults
from milimo_image.autoencoder import Autoencoder
from milimo_image.plan import ImagePlan, plan_image
from milimo_image.reference_size import cropped_size, reference_pixels, scaled_size
from milimo_image.request import ImageRequest, Reference, ReferenceMode
from milimo_runtime.device import device_plan
from milimo_runtime.errors import InvalidArgument, ModelMissing

REQUEST = ImageRequest(prompt="a red circle")


def plan(request: ImageRequest, *, is_distilled: bool = True, random_seed: int = 7) -> ImagePlan:
    return plan_image(request, is_distilled=is_distilled, random_seed=random_seed)


@given(
    width=st.integers(defaults.MIN_SIDE, 8000),
    height=st.integers(defaults.MIN_SIDE, 8000),
)
def test_model_size_is_the_next_multiple(width: int, height: int) -> None:
    made = plan(replace(REQUEST, width=width, height=height))
    assert (made.width, made.height) == (width, height)
    for asked, model in ((width, made.model_width), (height, made.model_height)):
        assert model % 16 == 0
        assert asked <= model < asked + 16
    codes = [notice.code for notice in made.notices]
    assert ("SIZE_ROUNDED" in codes) == (width % 16 != 0 or height % 16 != 0)


@pytest.mark.parametrize(("is_distilled", "steps", "guidance", "forwards"), [(True, 4, 1.0, 1), (False, 50, 4.0, 2)])
def test_defaults_by_checkpoint(is_distilled: bool, steps: int, guidance: float, forwards: int) -> None:
    made = plan(REQUEST, is_distilled=is_distilled)
    assert (made.width, made.height, made.steps, made.guidance) == (1024, 1024, steps, guidance)
    assert made.forwards_per_step == forwards
    assert made.notices == ()


WIDE = Reference(asset_id="wide", width=64 * 8 + 1, height=64)
SMALL = Reference(asset_id="small", width=63, height=100)
FINE = Reference(asset_id="fine", width=512, height=64)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (replace(REQUEST, prompt=" \n"), "prompt"),
        (replace(REQUEST, prompt="x" * 10_001), "prompt"),
        (replace(REQUEST, prompt="a\0b"), "prompt"),
        (replace(REQUEST, negative_prompt="x" * 10_001), "negative_prompt"),
        (replace(REQUEST, width=63), "width"),
        (replace(REQUEST, height=0), "height"),
        (replace(REQUEST, width=defaults.MAX_SIDE + 1), "width"),
        (replace(REQUEST, width=8000, height=8001), "height"),
        (replace(REQUEST, width=8001, height=8000), "width"),
        (replace(REQUEST, steps=0), "steps"),
        (replace(REQUEST, steps=defaults.MAX_STEPS + 1), "steps"),
        (replace(REQUEST, guidance=0.5), "guidance"),
        (replace(REQUEST, guidance=float("nan")), "guidance"),
        (replace(REQUEST, count=0), "count"),
        (replace(REQUEST, count=defaults.MAX_COUNT + 1), "count"),
        (replace(REQUEST, seed=-1), "seed"),
        (replace(REQUEST, seed=2**63), "seed"),
        (replace(REQUEST, seed=2**63 - 1, count=2), "seed"),
        (replace(REQUEST, enable_true_cfg=True, cfg_scale=0.9), "cfg_scale"),
        (replace(REQUEST, enable_true_cfg=True, cfg_scale=5.1), "cfg_scale"),
        (replace(REQUEST, references=(FINE,) * 11), "reference_asset_ids"),
        (replace(REQUEST, references=(FINE, SMALL)), "reference_asset_ids[1]"),
        (replace(REQUEST, references=(WIDE,)), "reference_asset_ids[0]"),
    ],
)
def test_wrong_requests_name_the_field(request_: ImageRequest, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan(request_)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, prompt="x" * 10_000),
        replace(REQUEST, width=8000, height=8000),
        replace(REQUEST, width=64, height=64),
        replace(REQUEST, seed=2**63 - 2, count=2),
        replace(REQUEST, prompt="", references=(FINE,) * 10),
    ],
)
def test_limits_themselves_are_accepted(request_: ImageRequest) -> None:
    assert plan(request_).width >= defaults.MIN_SIDE


@pytest.mark.parametrize(
    ("request_", "is_distilled", "codes"),
    [
        (replace(REQUEST, negative_prompt="blurry"), True, ["NEGATIVE_PROMPT_IGNORED"]),
        (replace(REQUEST, negative_prompt="blurry", enable_true_cfg=True), True, []),
        (replace(REQUEST, cfg_scale=3.0), True, ["CFG_SCALE_IGNORED"]),
        (replace(REQUEST, guidance=3.5), True, ["GUIDANCE_IGNORED"]),
        (replace(REQUEST, guidance=3.5), False, []),
        (replace(REQUEST, guidance=3.5, enable_true_cfg=True), True, ["GUIDANCE_IGNORED"]),
        (replace(REQUEST, guidance=3.5, enable_true_cfg=True), False, ["GUIDANCE_IGNORED"]),
        (replace(REQUEST, negative_prompt="x", enable_true_cfg=True, cfg_scale=1.0), True, ["NEGATIVE_PROMPT_IGNORED"]),
    ],
)
def test_notices_say_what_has_no_effect(request_: ImageRequest, is_distilled: bool, codes: list[str]) -> None:
    assert [notice.code for notice in plan(request_, is_distilled=is_distilled).notices] == codes


NATIVE, DIFFUSERS = Autoencoder


@pytest.mark.parametrize(
    ("enable_ae", "there", "used", "codes"),
    [
        (None, {NATIVE, DIFFUSERS}, NATIVE, []),
        (True, {NATIVE, DIFFUSERS}, NATIVE, []),
        (False, {NATIVE, DIFFUSERS}, DIFFUSERS, []),
        (None, {DIFFUSERS}, DIFFUSERS, []),
        (True, {DIFFUSERS}, DIFFUSERS, ["AUTOENCODER_FALLBACK"]),
        (False, {NATIVE}, NATIVE, ["AUTOENCODER_FALLBACK"]),
    ],
)
def test_autoencoders(enable_ae: bool | None, there: set[Autoencoder], used: Autoencoder, codes: list[str]) -> None:
    made = plan_image(replace(REQUEST, enable_ae=enable_ae), is_distilled=True, random_seed=0, autoencoders=there)
    assert made.autoencoder is used
    assert [notice.code for notice in made.notices] == codes


A = ReferenceMode


@pytest.mark.parametrize(
    ("mode", "autoencoder", "there", "tokens", "adapted"),
    [
        (A.AUTO, NATIVE, True, True, False),
        (A.AUTO, NATIVE, False, True, False),
        (A.AUTO, DIFFUSERS, True, False, True),
        (A.AUTO, DIFFUSERS, False, True, False),
        (A.TOKENS, DIFFUSERS, True, True, False),
        (A.IP_ADAPTER, NATIVE, True, False, True),
        (A.BOTH, NATIVE, True, True, True),
    ],
)
def test_reference_modes(
    mode: ReferenceMode, autoencoder: Autoencoder, there: bool, tokens: bool, adapted: bool
) -> None:
    def planned(*references: Reference) -> ImagePlan:
        request = replace(REQUEST, references=references, reference_mode=mode)
        return plan_image(request, is_distilled=True, random_seed=0, autoencoders={autoencoder}, ip_adapter=there)

    made = planned(FINE, FINE)
    assert (made.reference_tokens, made.ip_adapter) == (tokens, adapted)
    costs = {stage.name: stage.cost for stage in made.stages}
    assert (costs["denoise"] > plan(REQUEST).stages[1].cost) == tokens
    assert next(stage.steps for stage in made.stages if stage.name == "encode_references") == 2
    # Without references there is nothing to use.
    without = planned()
    assert (without.reference_tokens, without.ip_adapter) == (False, False)


@pytest.mark.parametrize("mode", [A.IP_ADAPTER, A.BOTH])
def test_an_adapter_that_is_missing_is_named(mode: ReferenceMode) -> None:
    request = replace(REQUEST, references=(FINE,), reference_mode=mode)
    with pytest.raises(ModelMissing, match=r"ip-adapter\.safetensors and image_encoder/"):
        plan(request)
    assert plan(replace(request, references=())).ip_adapter is False


def test_references_have_a_stage_and_cost_tokens() -> None:
    made = plan(replace(REQUEST, references=(FINE,) * 3))
    without = plan(REQUEST)
    stages = {stage.name: stage for stage in made.stages}
    assert [stage.name for stage in made.stages] == ["encode_prompt", "encode_references", "denoise", "decode"]
    assert stages["encode_references"].steps == 3
    tokens = 64 * 64 + 512
    assert stages["denoise"].cost / without.stages[1].cost == pytest.approx((tokens + 3 * 32 * 4) / tokens)


@given(
    width=st.integers(64, 8000),
    height=st.integers(64, 8000),
    count=st.integers(1, 10),
    kind=st.sampled_from(["cpu", "cuda", "mps"]),
)
def test_references_are_scaled_and_cropped_to_what_the_device_takes(
    width: int, height: int, count: int, kind: str
) -> None:
    assume(max(width, height) <= 8 * min(width, height))
    most = reference_pixels(count, device_plan(kind))
    assert most == (768**2 if kind == "mps" else 2024**2 if count == 1 else 1024**2)
    scaled = scaled_size(width, height, most)
    cropped = cropped_size(*scaled)
    assert cropped[0] * cropped[1] <= most
    assert scaled == (width, height) or width * height > most
    for side, cut in zip(scaled, cropped, strict=True):
        assert cut % 16 == 0
        assert 64 <= cut <= side < cut + 16


def test_true_cfg_takes_the_place_of_guidance() -> None:
    made = plan(replace(REQUEST, enable_true_cfg=True), is_distilled=False)
    assert (made.cfg_scale, made.guidance, made.forwards_per_step) == (2.0, 1.0, 2)
    assert plan(REQUEST).cfg_scale == 1.0


@given(
    seed=st.one_of(st.none(), st.integers(0, 2**63 - 1 - defaults.MAX_COUNT)),
    count=st.integers(1, defaults.MAX_COUNT),
    random_seed=st.integers(0, 2**63 - 1),
)
def test_seeds_follow_each_other(seed: int | None, count: int, random_seed: int) -> None:
    seeds = plan(replace(REQUEST, seed=seed, count=count), random_seed=random_seed).seeds
    assert list(seeds) == list(range(seeds[0], seeds[0] + count))
    assert 0 <= seeds[0] <= seeds[-1] <= 2**63 - 1
    if seed is not None:
        assert seeds[0] == seed
    elif random_seed < 2**63 - count:
        assert seeds[0] == random_seed


@given(count=st.integers(1, defaults.MAX_COUNT), steps=st.integers(1, defaults.MAX_STEPS), is_distilled=st.booleans())
def test_stages_cover_the_work(count: int, steps: int, is_distilled: bool) -> None:
    made = plan(replace(REQUEST, count=count, steps=steps), is_distilled=is_distilled)
    names = [stage.name for stage in made.stages]
    assert len(set(names)) == len(names) == 1 + 2 * count
    assert sum(stage.steps for stage in made.stages) == 1 + count * (steps + 1)
    assert all(stage.cost > 0 for stage in made.stages)
    # Guidance doubles the cost of denoising and nothing else.
    single = plan(replace(REQUEST, count=count, steps=steps, guidance=1.0), is_distilled=is_distilled)
    factors = {
        name.split("_")[0]: stage.cost / other.cost
        for name, stage, other in zip(names, made.stages, single.stages, strict=True)
    }
    assert factors == {"encode": 1.0, "denoise": float(made.forwards_per_step), "decode": 1.0}


def test_single_image_stage_names() -> None:
    assert [stage.name for stage in plan(REQUEST).stages] == ["encode_prompt", "denoise", "decode"]
    assert [stage.name for stage in plan(replace(REQUEST, count=2)).stages][1:] == [
        "denoise_1",
        "decode_1",
        "denoise_2",
        "decode_2",
    ]
