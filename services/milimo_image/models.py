"""The loaded parts of a FLUX.2 klein checkpoint."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import unwatched
from milimo_runtime.vision_ops import prepare_torchvision

from milimo_image.autoencoder import AutoencoderSlot, autoencoders_at, chosen
from milimo_image.ip_adapter_files import has_ip_adapter, ip_adapter_files
from milimo_image.layout import find_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from milimo_runtime.device import DevicePlan
    from torch import nn
    from transformers import PreTrainedTokenizerBase, Qwen3Model

    from milimo_image.ip_adapter import IpAdapter
    from milimo_image.layout import Layout

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageModels:
    """The parts of one checkpoint, in evaluation mode, where the device plan puts them."""

    transformer: Flux2Transformer2DModel
    autoencoders: AutoencoderSlot
    # Ends after the last layer whose output is used, and does not normalise that output.
    text_encoder: Qwen3Model
    tokenizer: PreTrainedTokenizerBase
    # Optional; None also when its files are damaged: only requests that need it suffer.
    ip_adapter: IpAdapter | None
    scheduler_config: Mapping[str, Any]
    is_distilled: bool
    # Layers of the text encoder whose outputs, side by side, are the prompt's embedding; 0 would be its input.
    prompt_layers: tuple[int, ...]
    weight_bytes: Mapping[str, int]
    # Changes with the files that a prompt's embedding depends on.
    text_fingerprint: str
    devices: DevicePlan

    @property
    def vae(self) -> AutoencoderKLFlux2:
        """The autoencoder that is loaded now."""
        return self.autoencoders.loaded

    @property
    def vae_fingerprint(self) -> str:
        """Changes with the autoencoder that a reference's latents depend on."""
        return self.autoencoders.kind.value

    @property
    def total_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(self.weight_bytes.values())


def load_image_models(root: Path, devices: DevicePlan, check: Callable[[], None] = unwatched) -> ImageModels:
    """Loads the checkpoint at `root` onto the devices of the plan, with native autoencoder and IP-Adapter if there.

    Only safetensors are read. Layers of the text encoder past the last one used, its final norm and its language model
    head are not loaded. `check` is called before each part and may raise, which ends the load. Raises `ModelMissing`
    when a file is missing or damaged.
    """
    layout = find_layout(root)
    prepare_torchvision()
    from safetensors import SafetensorError
    from transformers import AutoTokenizer

    try:
        check()
        transformer = _load_transformer(layout.transformer, devices)
        check()
        autoencoders = AutoencoderSlot(root, devices.placement("flux-2.vae"))
        autoencoders.select(chosen(None, autoencoders_at(root)))
        check()
        text_encoder, prompt_layers = _load_text_encoder(
            layout.text_encoder, transformer.config.joint_attention_dim, devices
        )
        tokenizer = AutoTokenizer.from_pretrained(layout.tokenizer, local_files_only=True)
        check()
        ip_adapter = _load_ip_adapter(root, devices)
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"FLUX.2 at {root} cannot be loaded, a file is damaged: {error}") from error
    return ImageModels(
        transformer=transformer,
        autoencoders=autoencoders,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        ip_adapter=ip_adapter,
        scheduler_config=layout.schedule,
        is_distilled=layout.is_distilled,
        prompt_layers=prompt_layers,
        weight_bytes=MappingProxyType(
            {
                "transformer": _bytes_of(transformer),
                "vae": _bytes_of(autoencoders.loaded),
                "text_encoder": _bytes_of(text_encoder),
                **({} if ip_adapter is None else {"ip_adapter": _bytes_of(ip_adapter)}),
            }
        ),
        text_fingerprint=_fingerprint(layout),
        devices=devices,
    )


def prompt_layers_of(*, num_layers: int, hidden_size: int, joint_dim: int) -> tuple[int, ...]:
    """The text encoder's layers that make a prompt's embedding: as many as fill `joint_dim`, evenly spaced.

    FLUX.2 klein takes 9, 18 and 27 of Qwen3's 36 layers: layer i · L / (n + 1) for i = 1 … n. Raises `ValueError` when
    the widths do not fit together.
    """
    used, rest = divmod(joint_dim, hidden_size)
    if rest or not 1 <= used < num_layers:
        raise ValueError(
            f"a joint width of {joint_dim} does not fit a text encoder of {num_layers} layers, {hidden_size} wide"
        )
    return tuple(index * num_layers // (used + 1) for index in range(1, used + 1))


def _load_transformer(path: Path, devices: DevicePlan) -> Flux2Transformer2DModel:
    from diffusers import Flux2Transformer2DModel

    from milimo_image.native_transformer import load_native_transformer

    placement = devices.placement("flux-2.transformer")
    if path.is_file():
        model = load_native_transformer(path, placement.torch_dtype())
    else:
        model = Flux2Transformer2DModel.from_pretrained(
            path, torch_dtype=placement.torch_dtype(), use_safetensors=True, local_files_only=True
        )
    return model.eval().to(placement.device)


def _load_text_encoder(folder: Path, joint_dim: int, devices: DevicePlan) -> tuple[Qwen3Model, tuple[int, ...]]:
    from torch import nn
    from transformers import Qwen3Config, Qwen3Model

    # The same class, told not to report the layers and the head that are left out on purpose.
    prompt_encoder: Any = type(
        "PromptEncoder",
        (Qwen3Model,),
        {"_keys_to_ignore_on_load_unexpected": [r"^lm_head\.", r"layers\.\d+\."]},
    )
    placement = devices.placement("flux-2.text_encoder")
    config = Qwen3Config.from_pretrained(folder, local_files_only=True)
    layers = prompt_layers_of(num_layers=config.num_hidden_layers, hidden_size=config.hidden_size, joint_dim=joint_dim)
    config.num_hidden_layers = layers[-1]
    config.layer_types = config.layer_types[: layers[-1]]
    encoder = prompt_encoder.from_pretrained(
        folder,
        config=config,
        dtype=placement.torch_dtype(),
        use_safetensors=True,
        local_files_only=True,
    )
    # transformers reports the last hidden state after the norm; the model was trained on it before.
    encoder.norm = nn.Identity()
    return encoder.eval().to(placement.device), layers


def _load_ip_adapter(root: Path, devices: DevicePlan) -> IpAdapter | None:
    if not has_ip_adapter(root):
        return None
    from milimo_image.ip_adapter import load_ip_adapter

    try:
        files = ip_adapter_files(root)
    except ModelMissing as error:
        log.warning("the IP-Adapter is left out", extra={"action": "ip_adapter_left_out", "problem": error.message})
        return None
    return load_ip_adapter(files, devices.placement("flux-2.image_encoder"))


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensors in (module.parameters(), module.buffers()) for tensor in tensors)


def _fingerprint(layout: Layout) -> str:
    """A digest of names, sizes and times: the contents of 16 GB are not read again for it."""
    digest = hashlib.sha256(str(layout.text_encoder.resolve()).encode())
    for path in sorted({*layout.text_encoder.iterdir(), *layout.tokenizer.iterdir()}):
        state = path.stat()
        digest.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns};".encode())
    return digest.hexdigest()
