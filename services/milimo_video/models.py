"""The parts of an LTX-2 checkpoint in memory, placed on their devices and wired into diffusers pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from milimo_runtime.errors import NotFound
from milimo_runtime.observer import unwatched
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_video.adapters import Adapters
from milimo_video.checkpoint_files import SINGLE_FILE_PARTS, find_checkpoint, temporal_upsampler
from milimo_video.continuation import continuing_pipeline
from milimo_video.official import load_part, load_upsampler
from milimo_video.preview import ColourMap, fit_colour_map
from milimo_video.scaled_linear import store_in_fp8
from milimo_video.streaming import STREAMED
from milimo_video.temporal_upsampler import TemporalUpsampler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from milimo_runtime.device import DevicePlan

    from milimo_video.checkpoint_files import CheckpointFiles
    from milimo_video.lora_file import LoraFile
    from milimo_video.request import Checkpoint


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
    adapters: Adapters
    # Of the temporal stage; beside the weights, like LoRAs, and not counted.
    temporal: TemporalUpsampler
    weight_bytes: int
    # Whether the large parts are in host memory and come to the device block by block.
    streamed: bool

    @property
    def device(self) -> torch.device:
        """Where the models compute."""
        device = self.text_to_video.connectors.device
        assert isinstance(device, torch.device)
        return device

    def modules(self) -> Sequence[torch.nn.Module]:
        """The parts that hold weights; the pipelines share most of them. None that could be parked when streamed."""
        if self.streamed:
            return []
        parts = {**self.text_to_video.components, **self.upsample.components}
        return [part for part in parts.values() if isinstance(part, torch.nn.Module)]

    @property
    def vae(self) -> Any:
        """The video autoencoder, an AutoencoderKLLTX2Video."""
        return self.text_to_video.vae

    @cached_property
    def colours(self) -> ColourMap:
        """What previews are made with: fitted when the first one is asked for."""
        return fit_colour_map(self.vae)

    @property
    def compression(self) -> int:
        """Pixels that a side of a latent stands for."""
        return int(self.vae.spatial_compression_ratio)

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


def no_loras(name: str) -> LoraFile:
    """Finds no LoRA: for a checkpoint outside a registry. Raises NotFound."""
    raise NotFound("LoRA", name, field="loras.name")


def load_models(
    root: Path,
    *,
    name: str,
    checkpoint: Checkpoint,
    devices: DevicePlan,
    find_lora: Callable[[str], LoraFile] = no_loras,
    check: Callable[[], None] = unwatched,
) -> VideoModels:
    """Loads the checkpoint below the folder `root` (safetensors only), in one of `checkpoint_files`' layouts.

    Each part goes where `devices` places "ltx-2.<part>". `find_lora` knows the LoRAs of the registry by name. `check`
    is called before each part and may raise, which ends the load. Raises `ModelMissing` when a file is not there, such
    as the distilled LoRA that the second stage of a dev checkpoint needs.
    """
    files = find_checkpoint(root, name=name, checkpoint=checkpoint)
    prepare_torchvision()
    import diffusers
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    def part(folder: str, kind: Any) -> Any:
        check()
        place = devices.placement(f"ltx-2.{folder}")
        model = _read_part(files, folder, kind, dtype=place.torch_dtype(), fp8=devices.stores_fp8, name=name)
        if folder == "transformer" and devices.stores_fp8:
            store_in_fp8(model)
        if devices.streams and folder in STREAMED:
            STREAMED[folder](model.eval(), torch.device(place.device))
            return model
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
        "tokenizer": AutoTokenizer.from_pretrained(files.tokenizer),
        # The schedules of `milimo_video.sigmas` are final: whatever the checkpoint says, nothing shifts them again.
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=False, shift=1.0, shift_terminal=None
        ),
    }

    def temporal() -> Any:
        # Found anew: it may have come after the others were read.
        path = temporal_upsampler(find_checkpoint(root, name=name, checkpoint=checkpoint), name=name)
        place = devices.placement("ltx-2.temporal_upsampler")
        model = _read_upsampler(path, LTX2LatentUpsamplerModel, dtype=place.torch_dtype(), name=name)
        pipeline = diffusers.LTX2LatentUpsamplePipeline(
            vae=parts["vae"], latent_upsampler=model.to(place.device).eval()
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    pipelines: tuple[Any, Any, Any] = (
        diffusers.LTX2Pipeline(**shared),
        continuing_pipeline(**shared),
        diffusers.LTX2LatentUpsamplePipeline(vae=parts["vae"], latent_upsampler=upsampler),
    )
    for pipeline in pipelines:
        pipeline.set_progress_bar_config(disable=True)
    return VideoModels(
        name=name,
        checkpoint=checkpoint,
        text_to_video=pipelines[0],
        conditioned=pipelines[1],
        upsample=pipelines[2],
        adapters=Adapters(
            pipelines[0], find=find_lora, distilled=files.distilled_lora if checkpoint == "dev" else None
        ),
        temporal=TemporalUpsampler(temporal),
        weight_bytes=sum(weight_bytes(model) for model in (*parts.values(), upsampler)),
        streamed=devices.streams,
    )


def _read_part(
    files: CheckpointFiles, folder: str, kind: Any, *, dtype: torch.dtype, fp8: bool, name: str
) -> torch.nn.Module:
    """A part as it is on the disk, on the CPU; with `fp8` in the smaller of two files."""
    if folder == "latent_upsampler":
        return _read_upsampler(files.upsampler, kind, dtype=dtype, name=name)
    if files.official and folder in SINGLE_FILE_PARTS:
        return load_part(files.single_for(fp8=fp8), folder, kind, dtype=dtype, fp8=fp8, name=name)
    return _read_folder(files.text_encoder if folder == "text_encoder" else files.root / folder, kind, dtype)


def _read_upsampler(path: Path, kind: Any, *, dtype: torch.dtype, name: str) -> torch.nn.Module:
    """An upsampler, a published file or a folder of diffusers' layout, on the CPU."""
    return load_upsampler(path, kind, dtype=dtype, name=name) if path.is_file() else _read_folder(path, kind, dtype)


def _read_folder(path: Path, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
    model = kind.from_pretrained(path, torch_dtype=dtype, use_safetensors=True)
    assert isinstance(model, torch.nn.Module)
    return model


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters and buffers, shared ones once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
