"""Where the parts of an LTX-2 checkpoint are: in diffusers' folders, or in the official single files. Pure.

The official layout, below the model's folder:

models/checkpoints/ltx-2-19b-*.safetensors       transformer, connectors, both autoencoders, vocoder
models/checkpoints/ltx-2-19b-*-fp8.safetensors   the same with the transformer's layers in fp8, each with its scale
models/checkpoints/*-distilled-lora-*.safetensors
models/upscalers/ltx-2-spatial-upscaler-*.safetensors, ltx-2-temporal-upscaler-*.safetensors
models/text_encoders/gemma3/                     transformers' layout, the tokenizer beside it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_runtime.errors import ModelMissing

from milimo_video.official_names import part_names
from milimo_video.safetensors_header import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from milimo_video.request import Checkpoint

# Folders of diffusers' layout that hold weights, and those that do not.
WEIGHT_FOLDERS: Final = (
    "text_encoder",
    "connectors",
    "transformer",
    "vae",
    "audio_vae",
    "vocoder",
    "latent_upsampler",
)
_OTHER_FOLDERS: Final = ("tokenizer", "scheduler")
# Parts that an official file holds.
SINGLE_FILE_PARTS: Final = ("connectors", "transformer", "vae", "audio_vae", "vocoder")
_CHECKPOINTS: Final = "models/checkpoints"
_UPSCALERS: Final = "models/upscalers"
_GEMMA: Final = "models/text_encoders/gemma3"
_TEMPORAL: Final = "temporal_upsampler"
_LORA_MARK: Final = "-lora-"
_FP8_MARK: Final = "-fp8"
_ADVICE: Final = "`milimo models verify` names every file that is missing and how to get it"


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """The files of a checkpoint that is there as a whole. `single` is None in diffusers' layout."""

    root: Path
    # In full precision and in fp8; either may be None, not both.
    single: Path | None
    single_fp8: Path | None
    text_encoder: Path
    tokenizer: Path
    # Files in the official layout, folders in diffusers'.
    upsampler: Path
    temporal_upsampler: Path | None
    distilled_lora: Path | None

    @property
    def official(self) -> bool:
        """Whether the parts are in single files."""
        return self.single is not None or self.single_fp8 is not None

    def single_for(self, *, fp8: bool) -> Path:
        """The single file to load: the one in fp8 when that is asked for or there is no other."""
        chosen = (self.single_fp8 or self.single) if fp8 else (self.single or self.single_fp8)
        assert chosen is not None, "only in the official layout"
        return chosen


def find_checkpoint(root: Path, *, name: str, checkpoint: Checkpoint) -> CheckpointFiles:
    """The files of the model `name` below `root`. Raises `ModelMissing`, which says what is not there."""
    files = _official(root, name) if (root / _CHECKPOINTS).is_dir() else _folders(root, name)
    if checkpoint == "dev" and files.distilled_lora is None:
        raise _missing(name, "the distilled LoRA (*-distilled-lora-*.safetensors), which its second stage needs")
    return files


def temporal_upsampler(files: CheckpointFiles, *, name: str) -> Path:
    """The temporal upsampler, a file or a folder. Raises `ModelMissing` when it is not there."""
    if files.temporal_upsampler is None:
        there = (
            f"ltx-2-temporal-upscaler-x2-1.0.safetensors, under {files.root / _UPSCALERS}"
            if files.official
            else f"the folder {_TEMPORAL!r} under {files.root}"
        )
        raise ModelMissing(
            f"the video model {name!r} lacks the temporal upsampler, which `upscale` needs: {there}; "
            "`milimo models pull` fetches it with the model",
            metadata={"model": name, "folder": _UPSCALERS if files.official else _TEMPORAL},
        )
    return files.temporal_upsampler


def weight_shapes(files: CheckpointFiles, *, name: str) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the weights that a LoRA can adapt, by diffusers' names below "transformer." and "connectors.".

    Raises `ModelMissing` for a file that is cut off.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("transformer", "connectors"):
        if files.official:
            header = read_header(files.single_for(fp8=False), model=name)
            renamed = part_names(list(header.tensors), part)
            shapes |= {f"{part}.{new}": header.tensors[old].shape for old, new in renamed.items()}
            continue
        for path in sorted((files.root / part).glob("*.safetensors")):
            header = read_header(path, model=name)
            shapes |= {f"{part}.{weight}": fact.shape for weight, fact in header.tensors.items()}
    return shapes


def _folders(root: Path, name: str) -> CheckpointFiles:
    for folder in (*WEIGHT_FOLDERS, *_OTHER_FOLDERS):
        if not (root / folder).is_dir():
            raise _missing(name, f"the folder {folder!r} under {root}", folder=folder)
    temporal = root / _TEMPORAL
    return CheckpointFiles(
        root=root,
        single=None,
        single_fp8=None,
        text_encoder=root / "text_encoder",
        tokenizer=root / "tokenizer",
        upsampler=root / "latent_upsampler",
        temporal_upsampler=temporal if temporal.is_dir() else None,
        distilled_lora=_first(root, "*distilled-lora*.safetensors"),
    )


def _official(root: Path, name: str) -> CheckpointFiles:
    checkpoints, upscalers = root / _CHECKPOINTS, root / _UPSCALERS
    whole = [path for path in sorted(checkpoints.glob("*.safetensors")) if _LORA_MARK not in path.name]
    full = [path for path in whole if _FP8_MARK not in path.name]
    fp8 = [path for path in whole if _FP8_MARK in path.name]
    if not whole:
        raise _missing(name, f"a checkpoint, such as ltx-2-19b-distilled.safetensors, under {checkpoints}")
    upsampler = _first(upscalers, "*spatial-upscaler*.safetensors")
    if upsampler is None:
        raise _missing(name, f"the spatial upsampler, ltx-2-spatial-upscaler-x2-1.0.safetensors, under {upscalers}")
    gemma = root / _GEMMA
    if not gemma.is_dir():
        raise _missing(name, f"the folder {_GEMMA!r} under {root}", folder=_GEMMA)
    return CheckpointFiles(
        root=root,
        single=full[0] if full else None,
        single_fp8=fp8[0] if fp8 else None,
        text_encoder=gemma,
        tokenizer=gemma,
        upsampler=upsampler,
        temporal_upsampler=_first(upscalers, "*temporal-upscaler*.safetensors"),
        distilled_lora=_first(checkpoints, "*distilled-lora*.safetensors"),
    )


def _first(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None)


def _missing(name: str, what: str, **metadata: str) -> ModelMissing:
    return ModelMissing(f"the video model {name!r} lacks {what}; {_ADVICE}", metadata={"model": name, **metadata})
