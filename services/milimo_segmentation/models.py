"""The loaded parts of SAM 3: the detector finds what a text names, the tracker takes clicks and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import unwatched
from milimo_runtime.vision_ops import prepare_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from milimo_runtime.device import DevicePlan
    from torch import nn
    from transformers import Sam3Model, Sam3Processor, Sam3TrackerModel, Sam3TrackerProcessor


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationModels:
    """Both models in evaluation mode, where the device plan puts them."""

    detector: Sam3Model
    detector_processor: Sam3Processor
    tracker: Sam3TrackerModel
    tracker_processor: Sam3TrackerProcessor
    # Restricts attention in the text path to plain matrix products, where fused kernels are missing.
    math_attention: bool
    # A backbone that both share counts once, with the detector.
    weight_bytes: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(self.weight_bytes.values())


def load_segmentation_models(
    detector: Path, tracker: Path, devices: DevicePlan, check: Callable[[], None] = unwatched
) -> SegmentationModels:
    """Loads `Sam3Model` and `Sam3TrackerModel` with their processors; the folders may be one and the same.

    Only safetensors are read. When the image backbones of both hold the same weights, as in the published checkpoint,
    they become one. `check` is called before each model and may raise, which ends the load. Raises `ModelMissing` when
    a file is missing or damaged.
    """
    _check_files(detector, "tokenizer.json")
    _check_files(tracker)
    prepare_torchvision()
    from safetensors import SafetensorError
    from transformers import Sam3Model, Sam3Processor, Sam3TrackerModel, Sam3TrackerProcessor

    try:
        check()
        detector_model = _placed(Sam3Model, detector, "detector", devices)
        check()
        tracker_model = _placed(Sam3TrackerModel, tracker, "tracker", devices)
        detector_processor = Sam3Processor.from_pretrained(detector, local_files_only=True)
        tracker_processor = Sam3TrackerProcessor.from_pretrained(tracker, local_files_only=True)
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"SAM 3 at {detector} cannot be loaded, a file is damaged: {error}") from error
    tracker_bytes = _bytes_of(tracker_model)
    if _are_equal(detector_model.vision_encoder.backbone, tracker_model.vision_encoder.backbone):
        tracker_bytes -= _bytes_of(tracker_model.vision_encoder.backbone)
        tracker_model.vision_encoder.backbone = detector_model.vision_encoder.backbone
    return SegmentationModels(
        detector=detector_model,
        detector_processor=detector_processor,
        tracker=tracker_model,
        tracker_processor=tracker_processor,
        math_attention=devices.math_attention,
        weight_bytes=MappingProxyType({"detector": _bytes_of(detector_model), "tracker": tracker_bytes}),
    )


def _placed(cls: Any, folder: Path, part: str, devices: DevicePlan) -> Any:
    placement = devices.placement(f"sam-3.{part}")
    model = cls.from_pretrained(folder, dtype=placement.torch_dtype(), use_safetensors=True, local_files_only=True)
    return model.eval().to(placement.device)


def _check_files(folder: Path, *more: str) -> None:
    missing = [name for name in ("config.json", *more) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")):
        missing.append("processor_config.json")
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ModelMissing(
            f"SAM 3 at {folder} lacks {', '.join(missing)}; `milimo models verify` shows what is there, "
            "`milimo models verify` shows every file that is missing"
        )


def _are_equal(one: nn.Module, other: nn.Module) -> bool:
    import torch

    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(
        tensor.dtype == right[name].dtype and tensor.device == right[name].device and torch.equal(tensor, right[name])
        for name, tensor in left.items()
    )


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensors in (module.parameters(), module.buffers()) for tensor in tensors)
