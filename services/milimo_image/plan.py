"""From a request to a plan: everything that will be done, decided before anything is done. Pure, knows no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_runtime.device import DevicePlan
from milimo_runtime.errors import InvalidArgument, ModelMissing

from milimo_image import defaults
from milimo_image.autoencoder import Autoencoder, chosen
from milimo_image.ip_adapter_files import ENCODER_FOLDER, WEIGHTS_FILE
from milimo_image.mask_rules import check_mask
from milimo_image.reference_size import cropped_size, reference_pixels, scaled_size
from milimo_image.region import region_of
from milimo_image.request import ReferenceMode

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from milimo_image.request import ImageRequest, Inpaint

# Relative costs, in billions of multiply-adds per token of FLUX.2 klein 9B; only their ratios matter.
_ENCODER_COST = 6.1  # 27 of Qwen3-8B's 36 layers
_TRANSFORMER_COST = 9.1
_DECODER_COST = 2.5
_IMAGE_ENCODER_COST = 1.2
_PROVIDER_COST = 5000.0  # a paragraph of a language model
_MASK_COST = 2300.0  # SAM 3 on 72² patches of an image
_CLIP_COST = 78.0  # per image: ViT-L/14 on 257 patches


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the work that shows progress. `cost` is that of the whole stage, in units common to the plan."""

    name: str
    steps: int
    cost: float


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that the caller should know. `code` is UPPER_SNAKE_CASE."""

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """What will be done for a request: result i has the seed `seeds[i]` and exactly `width` × `height` pixels."""

    width: int
    height: int
    model_width: int  # multiples of 16, ≥ width and height; the result is the middle of it
    model_height: int
    steps: int
    skipped_steps: int  # the first ones, which inpainting with a strength below 1 leaves out
    guidance: float  # 1.0: one forward per step; above: a second one with an empty prompt
    cfg_scale: float  # 1.0: off
    autoencoder: Autoencoder
    reference_tokens: bool  # references are encoded and laid beside the image's tokens
    ip_adapter: bool  # they act through the IP-Adapter
    seeds: tuple[int, ...]
    stages: tuple[Stage, ...]
    notices: tuple[Notice, ...]

    @property
    def forwards_per_step(self) -> int:
        """How often the transformer runs in a denoising step."""
        return 2 if self.guidance > 1.0 or self.cfg_scale > 1.0 else 1

    @property
    def cost(self) -> float:
        """The sum of the stages' costs."""
        return sum(stage.cost for stage in self.stages)


ENHANCE_PROMPT = "enhance_prompt"
FIND_MASK = "find_mask"
ENCODE_PROMPT = "encode_prompt"
ENCODE_REFERENCES = "encode_references"


def denoise_stage(index: int, count: int) -> str:
    """Name of the stage that denoises image `index` of `count`."""
    return "denoise" if count == 1 else f"denoise_{index + 1}"


def decode_stage(index: int, count: int) -> str:
    """Name of the stage that decodes image `index` of `count`."""
    return "decode" if count == 1 else f"decode_{index + 1}"


def plan_image(
    request: ImageRequest,
    *,
    is_distilled: bool,
    random_seed: int,
    autoencoders: AbstractSet[Autoencoder] = frozenset(Autoencoder),
    ip_adapter: bool = False,
) -> ImagePlan:
    """The plan for `request` on a distilled or a base checkpoint with these autoencoders and maybe an IP-Adapter.

    `random_seed`, 0 to 2⁶³ − 1, is used when the request gives none. Image i of a batch has the seed `seed + i`, so it
    is the same image as a request for one with that seed. Raises `InvalidArgument` with the request's field names, and
    `ModelMissing` when the request asks for an IP-Adapter that is not there.
    """
    _check_text(request)
    width, height = _check_size(request) if request.inpaint is None else _check_inpaint(request.inpaint)
    _check_references(request)
    notices: list[Notice] = []
    model_width, model_height = _round_up(width), _round_up(height)
    if request.inpaint is not None:
        model_width, model_height = region_of((width, height)).model
    elif (model_width, model_height) != (width, height):
        notices.append(
            Notice(
                code="SIZE_ROUNDED",
                text=f"computed at {model_width} × {model_height}, cropped to {width} × {height}: "
                f"the model works on multiples of {defaults.SIDE_MULTIPLE}",
            )
        )
    sampling = defaults.DISTILLED if is_distilled else defaults.BASE
    steps = sampling.steps if request.steps is None else request.steps
    if not 1 <= steps <= defaults.MAX_STEPS:
        raise InvalidArgument("steps", f"is {steps}; expected 1 to {defaults.MAX_STEPS}")
    # As diffusers counts: a strength of 1 takes all steps, and one step always remains.
    strength = 1.0 if request.inpaint is None else request.inpaint.strength
    skipped = int(max(steps - steps * strength, 0))
    cfg_scale = _cfg_scale(request, notices)
    guidance = _guidance(request, sampling.guidance, cfg_scale, is_distilled=is_distilled, notices=notices)
    autoencoder = _autoencoder(request, autoencoders, notices)
    as_tokens, adapted = _reference_use(request, autoencoder, ip_adapter)
    plan_seeds = _seeds(request, random_seed)
    return ImagePlan(
        width=width,
        height=height,
        model_width=model_width,
        model_height=model_height,
        steps=steps,
        skipped_steps=skipped,
        guidance=guidance,
        cfg_scale=cfg_scale,
        autoencoder=autoencoder,
        reference_tokens=as_tokens,
        ip_adapter=adapted,
        seeds=plan_seeds,
        stages=_stages(
            tokens=(model_width // defaults.SIDE_MULTIPLE) * (model_height // defaults.SIDE_MULTIPLE),
            steps=steps - skipped,
            references=_reference_tokens(request, as_tokens=as_tokens),
            adapted=len(request.references) if adapted else 0,
            encoded=len(request.references) + (request.inpaint is not None),
            enriched=request.enhance_prompt,
            searched=request.inpaint is not None and request.inpaint.mask_prompt is not None,
            passes=2 if guidance > 1.0 or cfg_scale > 1.0 else 1,
            count=len(plan_seeds),
        ),
        notices=tuple(notices),
    )


def _check_text(request: ImageRequest) -> None:
    if not request.prompt.strip() and not request.references and request.inpaint is None:
        raise InvalidArgument("prompt", "is empty; it is required unless there is a reference or an image to inpaint")
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if len(text) > defaults.MAX_PROMPT_CHARACTERS:
            raise InvalidArgument(
                field, f"has {len(text)} characters; at most {defaults.MAX_PROMPT_CHARACTERS} are accepted"
            )
        if "\0" in text:
            raise InvalidArgument(field, "contains a NUL character")


def _check_size(request: ImageRequest) -> tuple[int, int]:
    width = defaults.DEFAULT_WIDTH if request.width is None else request.width
    height = defaults.DEFAULT_HEIGHT if request.height is None else request.height
    for field, side in (("width", width), ("height", height)):
        if not defaults.MIN_SIDE <= side <= defaults.MAX_SIDE:
            raise InvalidArgument(field, f"is {side}; expected {defaults.MIN_SIDE} to {defaults.MAX_SIDE} pixels")
    if width * height > defaults.MAX_PIXELS:
        # The larger side is the one to reduce.
        raise InvalidArgument(
            "width" if width >= height else "height",
            f"{width} × {height} are more than {defaults.MAX_PIXELS / 1e6:g} megapixels",
        )
    return width, height


def _check_inpaint(inpaint: Inpaint) -> tuple[int, int]:
    """Checks what a request to inpaint names; the size of its canvas."""
    image = inpaint.image
    if min(image.width, image.height) < defaults.MIN_SIDE:
        raise InvalidArgument(
            "asset_id",
            f"is {image.width} × {image.height}; both sides must have at least {defaults.MIN_SIDE} pixels",
        )
    check_mask(inpaint)
    if not 0 < inpaint.strength <= 1:
        raise InvalidArgument("strength", f"is {inpaint.strength}; expected above 0, up to 1")
    if not 0 <= inpaint.feather <= defaults.MAX_FEATHER:
        raise InvalidArgument("feather", f"is {inpaint.feather}; expected 0 to {defaults.MAX_FEATHER} pixels")
    if inpaint.crop_padding is not None and not 0 <= inpaint.crop_padding <= defaults.MAX_CROP_PADDING:
        raise InvalidArgument(
            "crop_padding", f"is {inpaint.crop_padding}; expected 0 to {defaults.MAX_CROP_PADDING} pixels"
        )
    width, height = inpaint.canvas
    if max(width, height) > defaults.MAX_SIDE or width * height > defaults.MAX_PIXELS:
        raise InvalidArgument(
            "outpaint",
            f"makes the canvas {width} × {height}; at most {defaults.MAX_SIDE} a side and "
            f"{defaults.MAX_PIXELS / 1e6:g} megapixels are accepted",
        )
    return width, height


def _check_references(request: ImageRequest) -> None:
    if len(request.references) > defaults.MAX_REFERENCES:
        raise InvalidArgument(
            "reference_asset_ids",
            f"has {len(request.references)} images; at most {defaults.MAX_REFERENCES} are accepted",
        )
    for index, reference in enumerate(request.references):
        width, height = reference.width, reference.height
        if min(width, height) < defaults.MIN_REFERENCE_SIDE:
            raise InvalidArgument(
                f"reference_asset_ids[{index}]",
                f"is {width} × {height}; both sides must have at least {defaults.MIN_REFERENCE_SIDE} pixels",
            )
        if max(width, height) > defaults.MAX_REFERENCE_ASPECT * min(width, height):
            raise InvalidArgument(
                f"reference_asset_ids[{index}]",
                f"is {width} × {height}; one side may be at most {defaults.MAX_REFERENCE_ASPECT:g} times the other",
            )


def _cfg_scale(request: ImageRequest, notices: list[Notice]) -> float:
    if not request.enable_true_cfg:
        if request.negative_prompt:
            notices.append(
                Notice(
                    code="NEGATIVE_PROMPT_IGNORED",
                    text="the negative prompt has no effect without true CFG, which is off",
                )
            )
        if request.cfg_scale is not None:
            notices.append(
                Notice(code="CFG_SCALE_IGNORED", text="cfg_scale has no effect without true CFG, which is off")
            )
        return 1.0
    scale = defaults.DEFAULT_CFG_SCALE if request.cfg_scale is None else request.cfg_scale
    if not defaults.MIN_CFG_SCALE <= scale <= defaults.MAX_CFG_SCALE:
        raise InvalidArgument(
            "cfg_scale", f"is {scale}; expected {defaults.MIN_CFG_SCALE:g} to {defaults.MAX_CFG_SCALE:g}"
        )
    if scale == 1.0 and request.negative_prompt:
        notices.append(
            Notice(
                code="NEGATIVE_PROMPT_IGNORED",
                text="the negative prompt has no effect with a cfg_scale of 1",
            )
        )
    return scale


def _guidance(
    request: ImageRequest, default: float, cfg_scale: float, *, is_distilled: bool, notices: list[Notice]
) -> float:
    guidance = default if request.guidance is None else request.guidance
    if not defaults.MIN_GUIDANCE <= guidance <= defaults.MAX_GUIDANCE:
        raise InvalidArgument(
            "guidance", f"is {guidance}; expected {defaults.MIN_GUIDANCE:g} to {defaults.MAX_GUIDANCE:g}"
        )
    if cfg_scale > 1.0:
        why = "true CFG takes its place"  # the negative prompt stands for the empty one
    elif is_distilled:
        why = "a distilled checkpoint runs without it; use true CFG instead"
    else:
        return guidance
    if request.guidance is not None and guidance > 1.0:
        notices.append(Notice(code="GUIDANCE_IGNORED", text=f"guidance has no effect: {why}"))
    return 1.0


def _autoencoder(request: ImageRequest, there: AbstractSet[Autoencoder], notices: list[Notice]) -> Autoencoder:
    autoencoder = chosen(request.enable_ae, there)
    wanted = autoencoder if request.enable_ae is None else chosen(request.enable_ae, frozenset(Autoencoder))
    if wanted is not autoencoder:
        text = (
            "the native autoencoder is not available; the one of the checkpoint's vae folder is used"
            if wanted is Autoencoder.NATIVE
            else "the autoencoder of the vae folder is not available; the native one is used"
        )
        notices.append(Notice(code="AUTOENCODER_FALLBACK", text=text))
    return autoencoder


def _reference_use(request: ImageRequest, autoencoder: Autoencoder, there: bool) -> tuple[bool, bool]:
    """Whether references become tokens, and whether they act through the IP-Adapter, which may be there or not."""
    if not request.references:
        return False, False
    mode = request.reference_mode
    if mode is ReferenceMode.AUTO:
        adapted = there and autoencoder is not Autoencoder.NATIVE
        return not adapted, adapted
    if mode is not ReferenceMode.TOKENS and not there:
        raise ModelMissing(
            f"reference_mode asks for the IP-Adapter; its {WEIGHTS_FILE} and {ENCODER_FOLDER}/ are not both there"
        )
    return mode is not ReferenceMode.IP_ADAPTER, mode is not ReferenceMode.TOKENS


def _reference_tokens(request: ImageRequest, *, as_tokens: bool) -> tuple[int, ...]:
    """Tokens of each reference, on devices without limits of their own."""
    most = reference_pixels(len(request.references), DevicePlan)
    used = request.references if as_tokens else ()
    sizes = [cropped_size(*scaled_size(each.width, each.height, most)) for each in used]
    if request.inpaint is not None:
        sizes.insert(0, region_of(request.inpaint.canvas).model)
    return tuple(width * height // defaults.SIDE_MULTIPLE**2 for width, height in sizes)


def _seeds(request: ImageRequest, random_seed: int) -> tuple[int, ...]:
    if not 1 <= request.count <= defaults.MAX_COUNT:
        raise InvalidArgument("count", f"is {request.count}; expected 1 to {defaults.MAX_COUNT}")
    last = defaults.MAX_SEED - (request.count - 1)
    if request.seed is None:
        first = random_seed % (last + 1)
    elif 0 <= request.seed <= last:
        first = request.seed
    else:
        raise InvalidArgument("seed", f"is {request.seed}; expected 0 to {last}")
    return tuple(range(first, first + request.count))


def _stages(
    *,
    tokens: int,
    references: tuple[int, ...],
    adapted: int,
    encoded: int,
    enriched: bool,
    searched: bool,
    steps: int,
    passes: int,
    count: int,
) -> tuple[Stage, ...]:
    stages = [Stage(name=ENHANCE_PROMPT, steps=1, cost=_PROVIDER_COST)] if enriched else []
    if searched:
        stages.append(Stage(name=FIND_MASK, steps=1, cost=_MASK_COST))
    stages.append(Stage(name=ENCODE_PROMPT, steps=1, cost=_ENCODER_COST * defaults.MAX_PROMPT_TOKENS))
    if encoded:
        cost = _IMAGE_ENCODER_COST * sum(references) + _CLIP_COST * adapted
        stages.append(Stage(name=ENCODE_REFERENCES, steps=encoded, cost=cost))
    forward = _TRANSFORMER_COST * (tokens + sum(references) + defaults.MAX_PROMPT_TOKENS)
    for index in range(count):
        stages.append(Stage(name=denoise_stage(index, count), steps=steps, cost=forward * steps * passes))
        stages.append(Stage(name=decode_stage(index, count), steps=1, cost=_DECODER_COST * tokens))
    return tuple(stages)


def _round_up(side: int) -> int:
    return math.ceil(side / defaults.SIDE_MULTIPLE) * defaults.SIDE_MULTIPLE
