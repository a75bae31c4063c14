"""The parts of an LTX-2 checkpoint in memory, placed on their devices and wired into diffusers pipelines."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import unwatched
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_video.continuation import continuing_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from milimo_runtime.device import DevicePlan

    from milimo_video.request import Checkpoint

# Folders of the checkpoint, in diffusers' layout, that hold weights.
WEIGHT_FOLDERS = (
    "text_encoder",
    "connectors",
    "transformer",
    "vae",
    "audio_vae",
    "vocoder",
    "latent_upsampler",
)
_OTHER_FOLDERS = ("tokenizer", "scheduler")
_DISTILLED_LORA = "distilled"


@dataclass(frozen=True, kw_only=True)
class VideoModels:
    """A loaded checkpoint. Drop every reference to it to unload: nothing else holds the weights.

    The pipelines share their parts. They keep state while they run, so one thread uses a bundle at a time. diffusers
    gives its classes their attributes while it runs, where no type checker sees them: they are `Any` here, and only
    the code in `stages`, `text`, `decode`, `preview` and this module calls them.
    """

    # Identifies the weights, for instance in cache keys.
    name: str
    checkpoint: Checkpoint
    # LTX2Pipeline, LTX2ConditionPipeline (that also takes latents) and LTX2LatentUpsamplePipeline.
    text_to_video: Any
    conditioned: Any
    upsample: Any
    weight_bytes: int

    def modules(self) -> Sequence[torch.nn.Module]:
        """The parts that hold weights; the pipelines share most of them."""
        parts = {**self.text_to_video.components, **self.upsample.components}
        return [part for part in parts.values() if isinstance(part, torch.nn.Module)]

    @property
    def vae(self) -> Any:
        """The video autoencoder, an AutoencoderKLLTX2Video."""
        return self.text_to_video.vae

    @property
    def audio_vae(self) -> Any:
        """The audio autoencoder, an AutoencoderKLLTX2Audio."""
        return self.text_to_video.audio_vae

    @property
    def vocoder(self) -> Any:
        """The LTX2Vocoder, from mel spectrograms to samples."""
        return self.text_to_video.vocoder

    @property
    def audio_sample_rate(self) -> int:
        """Samples per second of the audio that the vocoder makes."""
        return int(self.vocoder.config.output_sampling_rate)

    @contextmanager
    def distilled(self) -> Iterator[None]:
        """Within it the transformer is distilled: a dev checkpoint has its distilled LoRA switched on."""
        if self.checkpoint == "distilled":
            yield
            return
        self.text_to_video.enable_lora()
        try:
            yield
        finally:
            self.text_to_video.disable_lora()


def load_models(
    root: Path,
    *,
    name: str,
    checkpoint: Checkpoint,
    devices: DevicePlan,
    distilled_lora: Path | None = None,
    check: Callable[[], None] = unwatched,
) -> VideoModels:
    """Loads the checkpoint in the folder `root` (diffusers' layout, safetensors only).

    Each part goes where `devices` places "ltx-2.<folder>". A dev checkpoint needs `distilled_lora`, a safetensors
    file, for its second stage; a distilled one takes none. `check` is called before each part and may raise, which
    ends the load. Raises `ModelMissing` when a folder or that file is not there.
    """
    for folder in (*WEIGHT_FOLDERS, *_OTHER_FOLDERS):
        if not (root / folder).is_dir():
            raise ModelMissing(
                f"the video model {name!r} has no folder {folder!r} under {root}; "
                "`milimo models verify` shows every file that is missing",
                metadata={"model": name, "folder": folder},
            )
    if checkpoint == "dev" and (distilled_lora is None or not distilled_lora.is_file()):
        raise ModelMissing(
            f"the video model {name!r} is a dev checkpoint, whose second stage needs the distilled LoRA; "
            "`milimo models verify` shows every file that is missing",
            metadata={"model": name, "file": "" if distilled_lora is None else distilled_lora.name},
        )
    prepare_torchvision()
    import diffusers
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    def part(folder: str, kind: Any) -> Any:
        check()
        place = devices.placement(f"ltx-2.{folder}")
        model = kind.from_pretrained(root / folder, torch_dtype=place.torch_dtype(), use_safetensors=True)
        return model.to(place.device).eval()

    parts: dict[str, torch.nn.Module] = {
        "text_encoder": part("text_encoder", Gemma3ForConditionalGeneration),
        "connectors": part("connectors", LTX2TextConnectors),
        "transformer": part("transformer", diffusers.LTX2VideoTransformer3DModel),
        "vae": part("vae", diffusers.AutoencoderKLLTX2Video),
        "audio_vae": part("audio_vae", diffusers.AutoencoderKLLTX2Audio),
        "vocoder": part("vocoder", LTX2Vocoder),
    }
    upsampler = part("latent_upsampler", LTX2LatentUpsamplerModel)
    shared = {
        **parts,
        "tokenizer": AutoTokenizer.from_pretrained(root / "tokenizer"),
        # The schedules of `milimo_video.sigmas` are final: whatever the checkpoint says, nothing shifts them again.
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(
            root / "scheduler", use_dynamic_shifting=False, shift=1.0, shift_terminal=None
        ),
    }
    pipelines: tuple[Any, Any, Any] = (
        diffusers.LTX2Pipeline(**shared),
        continuing_pipeline(**shared),
        diffusers.LTX2LatentUpsamplePipeline(vae=parts["vae"], latent_upsampler=upsampler),
    )
    for pipeline in pipelines:
        pipeline.set_progress_bar_config(disable=True)
    if checkpoint == "dev" and distilled_lora is not None:
        # Beside the weights, not fused: stage 1 runs without it.
        pipelines[0].load_lora_weights(
            distilled_lora.parent, weight_name=distilled_lora.name, adapter_name=_DISTILLED_LORA
        )
        pipelines[0].disable_lora()
    return VideoModels(
        name=name,
        checkpoint=checkpoint,
        text_to_video=pipelines[0],
        conditioned=pipelines[1],
        upsample=pipelines[2],
        weight_bytes=sum(weight_bytes(model) for model in (*parts.values(), upsampler)),
    )


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters and buffers, shared ones once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
