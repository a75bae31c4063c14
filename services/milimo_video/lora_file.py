"""LoRAs of the model registry: what the heads of their files say, and whether they fit a checkpoint. Pure.

A LoRA is a model of its own in the registry, of the purpose "lora" or "ic_lora", with one safetensors file. Its weights
are named after the layers that they adapt, in the official code's names below `diffusion_model.` or in diffusers'
below `transformer.` (and `text_embedding_projection.`, `connectors.` for the text connectors).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from milimo_runtime.errors import InvalidArgument, ModelMissing, NotFound

from milimo_video.official_names import connectors_name, transformer_name
from milimo_video.safetensors_header import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from milimo_runtime.registry import Registry

    from milimo_video.request import Lora, VideoRequest
    from milimo_video.safetensors_header import Header

_DOWNSCALE: Final = "reference_downscale_factor"
_TEMPORAL: Final = "reference_temporal_scale_factor"
_DOWN: Final = ".lora_A.weight"
_UP: Final = ".lora_B.weight"
_SUFFIX: Final = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How an IC-LoRA was shown its reference videos: so many times smaller, and at so many times fewer frames."""

    downscale: int = 1
    temporal_scale: int = 1


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """A LoRA: its file, and what it adapts."""

    name: str
    path: Path
    bytes: int
    # Inputs and outputs by layer, such as "transformer.transformer_blocks.0.attn1.to_q".
    layers: Mapping[str, tuple[int, int]]
    # Of an IC-LoRA, which reads reference videos; None for others.
    reference: Reference | None


def find_lora(registry: Registry, name: str, *, field: str) -> LoraFile:
    """The LoRA of this name in the registry.

    Raises:
        NotFound: there is none.
        InvalidArgument: it is something else than a LoRA for LTX-2.
        ModelMissing: its file is missing or cut off.
    """
    try:
        model = registry.model(name)
    except NotFound as error:
        raise NotFound("LoRA", name, field=field) from error
    purpose = model.manifest.purpose
    if purpose not in ("lora", "ic_lora"):
        raise InvalidArgument(field, f"{model.full_name} is a model for {purpose}, not a LoRA")
    model.require_complete()
    files = [file.path for file in model.manifest.files if file.path.endswith(_SUFFIX)]
    if len(files) != 1:
        raise ModelMissing(
            f"the LoRA {model.full_name} needs one safetensors file and lists {len(files)}. {model.manifest.advice}",
            metadata={"model": name, "family": registry.family},
        )
    path = model.root / files[0]
    header = read_header(path, model=model.full_name)
    return LoraFile(
        name=name,
        path=path,
        bytes=path.stat().st_size,
        layers=_layers(header, field, name),
        reference=_reference(header, field, name, in_context=purpose == "ic_lora"),
    )


def require_fit(lora: LoraFile, shapes: Mapping[str, tuple[int, ...]], *, model: str, field: str) -> None:
    """Raises `InvalidArgument` unless every layer that the LoRA adapts is in the model, with the same widths.

    `shapes` are those of the model's weights, by diffusers' names below "transformer." and "connectors.".
    """
    for layer, (inputs, outputs) in lora.layers.items():
        shape = shapes.get(f"{layer}.weight")
        if shape is None:
            raise InvalidArgument(
                field, f"the LoRA {lora.name} is for another model: it adapts {layer}, which {model} does not have"
            )
        if shape != (outputs, inputs):
            raise InvalidArgument(
                field,
                f"the LoRA {lora.name} is for another model: its {layer} has {inputs} inputs and {outputs} outputs, "
                f"that of {model} has {shape[-1]} and {shape[0]}",
            )


def with_loras(
    request: VideoRequest, registry: Registry, shapes: Mapping[str, tuple[int, ...]], *, model: str
) -> VideoRequest:
    """The request with what the LoRAs' files say filled in; each was found and fits the model.

    Raises as `find_lora` and `require_fit`, and InvalidArgument for a LoRA that is named twice.
    """
    found: list[Lora] = []
    for index, lora in enumerate(request.loras):
        field = f"loras[{index}].name"
        if lora.name in {earlier.name for earlier in found}:
            raise InvalidArgument(field, f"the LoRA {lora.name} is named twice; give it one weight")
        file = find_lora(registry, lora.name, field=field)
        require_fit(file, shapes, model=model, field=field)
        if file.reference is None:
            found.append(replace(lora, in_context=False))
            continue
        if any(earlier.in_context for earlier in found):
            raise InvalidArgument(field, "a video takes one IC-LoRA")
        found.append(
            replace(
                lora,
                in_context=True,
                reference_downscale=file.reference.downscale,
                reference_temporal_scale=file.reference.temporal_scale,
            )
        )
    return replace(request, loras=tuple(found))


def _layers(header: Header, field: str, name: str) -> Mapping[str, tuple[int, int]]:
    factors: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, fact in header.tensors.items():
        for suffix in (_DOWN, _UP):
            if key.endswith(suffix):
                factors.setdefault(_layer(key.removesuffix(suffix)), {})[suffix] = fact.shape
    layers = {}
    for layer, shapes in factors.items():
        down, up = shapes.get(_DOWN, ()), shapes.get(_UP, ())
        if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
            raise InvalidArgument(field, f"the LoRA {name} is damaged: the two factors of {layer} do not fit")
        layers[layer] = (down[1], up[0])
    if not layers:
        raise InvalidArgument(field, f"the file of {name} holds no LoRA: nothing in it ends with {_DOWN}")
    return layers


def _layer(key: str) -> str:
    """diffusers' name of a layer, whichever way the file names it."""
    for prefix, rename, part in (
        ("diffusion_model.", transformer_name, "transformer."),
        ("text_embedding_projection.", connectors_name, "connectors."),
    ):
        if key.startswith(prefix):
            return part + rename(key.removeprefix(prefix))
    return key


def _reference(header: Header, field: str, name: str, *, in_context: bool) -> Reference | None:
    values = {}
    for key in (_DOWNSCALE, _TEMPORAL):
        text = header.metadata.get(key, "1")
        if not text.isdecimal() or int(text) < 1:
            raise InvalidArgument(field, f"the LoRA {name} is damaged: its {key} is {text!r}, not a whole number")
        values[key] = int(text)
    if not in_context and not header.metadata.keys() & values.keys():
        return None
    return Reference(downscale=values[_DOWNSCALE], temporal_scale=values[_TEMPORAL])
