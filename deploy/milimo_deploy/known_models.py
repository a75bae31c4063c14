"""The models that `milimo models pull` knows: where their files come from and where they go. Data, and nothing else.

Sizes and hashes are those that the repository tells when it is asked; so is its licence, whose text counts. Footprints
are first estimates, replaced by measured peaks as the models are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILY: Final = "real"
_GB: Final = 10**9

_CHECKPOINTS: Final = "models/checkpoints"
_UPSCALERS: Final = "models/upscalers"
_WEIGHTS: Final = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one repository: those that match a pattern go below `folder`, under their own path."""

    repo: str
    patterns: tuple[str, ...]
    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model of the real family. `installs_as` is its name in the registry, which several kinds of a model share."""

    installs_as: str
    purpose: str
    checkpoint: str
    # As people call it; the repository's own text counts.
    license: str
    sources: tuple[Source, ...]
    # Bytes at the peak by grade; empty where nothing is known: then they are estimated from the files.
    footprints: Mapping[str, int]
    what: str


_LTX_LICENSE: Final = "LTX-2 Community License; text encoder: Gemma Terms of Use"
_LTX_REPO: Final = "Lightricks/LTX-2"
_GEMMA: Final = Source(
    repo="google/gemma-3-12b-it-qat-q4_0-unquantized", patterns=_WEIGHTS, folder="models/text_encoders/gemma3"
)
_LTX_UPSCALERS: Final = Source(
    repo=_LTX_REPO,
    patterns=("ltx-2-spatial-upscaler-x2-1.0.safetensors", "ltx-2-temporal-upscaler-x2-1.0.safetensors"),
    folder=_UPSCALERS,
)
_LTX_LORA: Final = "ltx-2-19b-distilled-lora-384.safetensors"


def _ltx(what: str, *checkpoints: str, checkpoint: str, footprints: Mapping[str, int]) -> KnownModel:
    return KnownModel(
        installs_as="ltx-2",
        purpose="video",
        checkpoint=checkpoint,
        license=_LTX_LICENSE,
        sources=(
            Source(repo=_LTX_REPO, patterns=checkpoints, folder=_CHECKPOINTS),
            _LTX_UPSCALERS,
            _GEMMA,
        ),
        footprints=footprints,
        what=what,
    )


# Weights and 7 GB to compute with: of the weights (69 GB with the text encoder) fp8 stores 18.5 GB fewer. Streamed, the
# largest block, what is beside the blocks and the autoencoders are there at once.
_VIDEO_FP8: Final[Mapping[str, Any]] = {"fp8": 58 * _GB, "streamed": 20 * _GB}
_VIDEO: Final[Mapping[str, Any]] = {"bf16": 76 * _GB, **_VIDEO_FP8}

KNOWN_MODELS: Final[Mapping[str, KnownModel]] = {
    "ltx-2": _ltx("LTX-2 19B, distilled", "ltx-2-19b-distilled.safetensors", checkpoint="distilled", footprints=_VIDEO),
    "ltx-2-fp8": _ltx(
        "LTX-2 19B, distilled, fp8: CUDA only",
        "ltx-2-19b-distilled-fp8.safetensors",
        checkpoint="distilled",
        footprints=_VIDEO_FP8,
    ),
    "ltx-2-dev": _ltx(
        "LTX-2 19B, dev, with the distilled LoRA for its second stage",
        "ltx-2-19b-dev.safetensors",
        _LTX_LORA,
        checkpoint="dev",
        footprints=_VIDEO,
    ),
    "ltx-2-dev-fp8": _ltx(
        "LTX-2 19B, dev, fp8: CUDA only, with the distilled LoRA",
        "ltx-2-19b-dev-fp8.safetensors",
        _LTX_LORA,
        checkpoint="dev",
        footprints=_VIDEO_FP8,
    ),
    "flux-2": KnownModel(
        installs_as="flux-2",
        purpose="image",
        checkpoint="distilled",
        license="FLUX Non-Commercial License",
        sources=(
            Source(
                repo="black-forest-labs/FLUX.2-klein-9B",
                patterns=(
                    "model_index.json",
                    *(f"{part}/*" for part in ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")),
                ),
            ),
        ),
        footprints={"bf16": 36 * _GB},
        what="FLUX.2 klein 9B, distilled, in diffusers' layout",
    ),
    "sam-3": KnownModel(
        installs_as="sam-3",
        purpose="segmentation",
        checkpoint="",
        license="SAM License",
        sources=(Source(repo="facebook/sam3", patterns=_WEIGHTS, folder="detector"),),
        footprints={},
        what="SAM 3, in transformers' layout",
    ),
}
