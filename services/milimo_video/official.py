"""Loads parts of LTX-2 from official single files: every weight by its name, none missing, none left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from milimo_runtime.errors import ModelMissing
from safetensors import safe_open

from milimo_video.official_config import part_config, upsampler_config
from milimo_video.official_names import part_names
from milimo_video.safetensors_header import read_header
from milimo_video.scaled_linear import use_scaled_linears

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Beside a layer's weights in an fp8 file; that of the inputs is for multiplying in fp8, which is not done here.
_WEIGHT_SCALE: Final = ".weight_scale"
_INPUT_SCALE: Final = ".input_scale"


def load_part(path: Path, part: str, kind: Any, *, dtype: torch.dtype, fp8: bool, name: str) -> torch.nn.Module:
    """The part (a folder of diffusers' layout) of an official file, as an instance of diffusers' class `kind`.

    Weights become `dtype`. Those that the file has in fp8 stay in it with `fp8`, each layer with its scale; otherwise
    they are multiplied out. Raises `ModelMissing`, naming weights that are missing or left over.
    """
    header = read_header(path, model=name)
    names = part_names(list(header.tensors), part)
    return _load(path, kind, part_config(header, part), names, dtype=dtype, fp8=fp8, name=name)


def load_upsampler(path: Path, kind: Any, *, dtype: torch.dtype, name: str) -> torch.nn.Module:
    """The upsampler in an official file of its own. Raises as `load_part`."""
    header = read_header(path, model=name)
    names = {weight: weight for weight in header.tensors}
    return _load(path, kind, upsampler_config(header), names, dtype=dtype, fp8=False, name=name)


def _load(
    path: Path,
    kind: Any,
    config: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    dtype: torch.dtype,
    fp8: bool,
    name: str,
) -> torch.nn.Module:
    from accelerate import init_empty_weights

    with init_empty_weights():
        model = kind.from_config(config)
    assert isinstance(model, torch.nn.Module)
    weights: dict[str, torch.Tensor] = {}
    with safe_open(path, framework="pt") as file:
        for theirs, ours in names.items():
            if not ours.endswith(_INPUT_SCALE):
                weights[ours] = file.get_tensor(theirs)
    scaled = _unscale(weights, dtype, keep=fp8)
    use_scaled_linears(model, scaled)
    found = model.load_state_dict(weights, strict=False, assign=True)
    if found.missing_keys or found.unexpected_keys:
        raise ModelMissing(
            f"the file {path.name} of the model {name} does not fit LTX-2: "
            f"{len(found.missing_keys)} weights are missing{_first(found.missing_keys)}, "
            f"{len(found.unexpected_keys)} are left over{_first(found.unexpected_keys)}",
            metadata={"model": name, "file": path.name},
        )
    return model


def _unscale(weights: dict[str, torch.Tensor], dtype: torch.dtype, *, keep: bool) -> set[str]:
    """Brings all weights to `dtype`, those in fp8 with their scales; with `keep` names the layers that stay in fp8."""
    kept = set()
    for name in [name for name in weights if not name.endswith(_WEIGHT_SCALE)]:
        weight = weights[name]
        layer = name.removesuffix(".weight")
        scale = weights.pop(layer + _WEIGHT_SCALE, None) if layer != name else None
        if weight.dtype is not torch.float8_e4m3fn:
            weights[name] = weight.to(dtype) if weight.is_floating_point() else weight
            continue
        factor = torch.ones(()) if scale is None else scale.float()
        if keep:
            weights[layer + _WEIGHT_SCALE] = factor
            kept.add(layer)
        else:
            weights[name] = (weight.float() * factor).to(dtype)
    return kept


def _first(names: list[str]) -> str:
    return f" (the first is {names[0]})" if names else ""
