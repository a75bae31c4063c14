"""The loaded parts of a FLUX.2 klein checkpoint in diffusers' folder layout."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import unwatched
from milimo_runtime.vision_ops import prepare_torchvision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from milimo_runtime.device import DevicePlan
    from torch import nn
    from transformers import PreTrainedTokenizerBase, Qwen3Model

_WEIGHTED_PARTS = ("transformer", "vae", "text_encoder")
_REQUIRED = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json",
    "transformer/config.json",
    "vae/config.json",
    "text_encoder/config.json",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageModels:
    """The parts of one checkpoint, in evaluation mode, where the device plan puts them."""

    transformer: Flux2Transformer2DModel
    vae: AutoencoderKLFlux2
    # Ends after the last layer whose output is used, and does not normalise that output.
    text_encoder: Qwen3Model
    tokenizer: PreTrainedTokenizerBase
    scheduler_config: Mapping[str, Any]
    is_distilled: bool
    # Layers of the text encoder whose outputs, side by side, are the prompt's embedding; 0 would be its input.
    prompt_layers: tuple[int, ...]
    weight_bytes: Mapping[str, int]
    # Changes with the files that a prompt's embedding depends on.
    text_fingerprint: str

    @property
    def total_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(self.weight_bytes.values())


def load_image_models(root: Path, devices: DevicePlan, check: Callable[[], None] = unwatched) -> ImageModels:
    """Loads the checkpoint at `root` onto the devices of the plan.

    Only safetensors are read. Layers of the text encoder past the last one used, its final norm and its language model
    head are not loaded. `check` is called before each part and may raise, which ends the load. Raises `ModelMissing`
    when a file is missing or damaged.
    """
    _check_files(root)
    prepare_torchvision()
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from safetensors import SafetensorError
    from transformers import AutoTokenizer

    try:
        check()
        transformer = _placed(Flux2Transformer2DModel, root, "transformer", devices)
        check()
        vae = _placed(AutoencoderKLFlux2, root, "vae", devices)
        check()
        text_encoder, prompt_layers = _load_text_encoder(root, transformer.config.joint_attention_dim, devices)
        tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer", local_files_only=True)
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"FLUX.2 at {root} cannot be loaded, a file is damaged: {error}") from error
    index = json.loads((root / "model_index.json").read_text(encoding="utf-8"))
    return ImageModels(
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler_config=MappingProxyType(
            json.loads((root / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        ),
        is_distilled=bool(index.get("is_distilled", False)),
        prompt_layers=prompt_layers,
        weight_bytes=MappingProxyType(
            {
                "transformer": _bytes_of(transformer),
                "vae": _bytes_of(vae),
                "text_encoder": _bytes_of(text_encoder),
            }
        ),
        text_fingerprint=_fingerprint(root),
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


def _placed(cls: Any, root: Path, part: str, devices: DevicePlan) -> Any:
    placement = devices.placement(f"flux-2.{part}")
    model = cls.from_pretrained(
        root / part, torch_dtype=placement.torch_dtype(), use_safetensors=True, local_files_only=True
    )
    return model.eval().to(placement.device)


def _load_text_encoder(root: Path, joint_dim: int, devices: DevicePlan) -> tuple[Qwen3Model, tuple[int, ...]]:
    from torch import nn
    from transformers import Qwen3Config, Qwen3Model

    # The same class, told not to report the layers and the head that are left out on purpose.
    prompt_encoder: Any = type(
        "PromptEncoder",
        (Qwen3Model,),
        {"_keys_to_ignore_on_load_unexpected": [r"^lm_head\.", r"layers\.\d+\."]},
    )
    placement = devices.placement("flux-2.text_encoder")
    config = Qwen3Config.from_pretrained(root / "text_encoder", local_files_only=True)
    layers = prompt_layers_of(num_layers=config.num_hidden_layers, hidden_size=config.hidden_size, joint_dim=joint_dim)
    config.num_hidden_layers = layers[-1]
    config.layer_types = config.layer_types[: layers[-1]]
    encoder = prompt_encoder.from_pretrained(
        root / "text_encoder",
        config=config,
        dtype=placement.torch_dtype(),
        use_safetensors=True,
        local_files_only=True,
    )
    # transformers reports the last hidden state after the norm; the model was trained on it before.
    encoder.norm = nn.Identity()
    return encoder.eval().to(placement.device), layers


def _check_files(root: Path) -> None:
    missing = [name for name in _REQUIRED if not (root / name).is_file()]
    missing += [f"{part}/*.safetensors" for part in _WEIGHTED_PARTS if not any((root / part).glob("*.safetensors"))]
    if missing:
        raise ModelMissing(
            f"FLUX.2 at {root} lacks {', '.join(missing)}; `milimo models verify` shows what is there, "
            "`milimo models verify` shows every file that is missing"
        )


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensors in (module.parameters(), module.buffers()) for tensor in tensors)


def _fingerprint(root: Path) -> str:
    """A digest of names, sizes and times: the contents of 16 GB are not read again for it."""
    digest = hashlib.sha256(str(root.resolve()).encode())
    for path in sorted((*(root / "text_encoder").iterdir(), *(root / "tokenizer").iterdir())):
        state = path.stat()
        digest.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns};".encode())
    return digest.hexdigest()
