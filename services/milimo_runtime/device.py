"""What a device can do: which element type each part of a model uses where.

One table, by device, so that no `if device == "mps"` stands elsewhere. The module names element types by string and
imports torch only to detect what is at hand: a plan is pure and can be asserted for a device that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

DeviceKind = Literal["cuda", "mps", "cpu"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a part of a model lives and computes: a device and the name of a torch element type."""

    device: str
    dtype: str

    def torch_dtype(self) -> torch.dtype:
        import torch

        dtype = getattr(torch, self.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """How the models run on one kind of device.

    `parts` maps "model.part" to its placement; a part that is not listed uses `default`.
    """

    kind: DeviceKind
    default: Placement
    parts: Mapping[str, Placement] = field(default_factory=lambda: MappingProxyType({}))
    allows_fp8: bool = False
    # Reference images for one generation, and pixels of each when there are several.
    max_references: int = 10
    reference_pixels_single: int = 2024 * 2024
    reference_pixels_several: int = 1024 * 1024
    # Restricts scaled dot product attention to the MATH backend where fused kernels are missing.
    math_attention: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def placement(self, part: str) -> Placement:
        """The placement of `part`, for example "ltx-2.vae"."""
        return self.parts.get(part, self.default)


_PLANS: Mapping[DeviceKind, DevicePlan] = {
    "cuda": DevicePlan(kind="cuda", default=Placement(device="cuda", dtype="bfloat16"), allows_fp8=True),
    "mps": DevicePlan(
        kind="mps",
        default=Placement(device="mps", dtype="float16"),
        parts=MappingProxyType(
            {
                # bfloat16 weights of LTX-2 are cast; its VAE decodes to black frames below float32.
                "ltx-2.vae": Placement(device="mps", dtype="float32"),
                # FLUX.2 gives NaN below float32, and its decoder gives black images on the device.
                "flux-2.transformer": Placement(device="mps", dtype="float32"),
                "flux-2.vae": Placement(device="cpu", dtype="float32"),
            }
        ),
        max_references=3,
        reference_pixels_single=768 * 768,
        reference_pixels_several=768 * 768,
        math_attention=True,
        environment=MappingProxyType({"PYTORCH_ENABLE_MPS_FALLBACK": "1"}),
    ),
    "cpu": DevicePlan(kind="cpu", default=Placement(device="cpu", dtype="float32")),
}


def device_plan(kind: DeviceKind) -> DevicePlan:
    """The plan for a kind of device."""
    return _PLANS[kind]


def detect_device() -> DeviceKind:
    """The best device at hand: cuda, then mps, then cpu. Imports torch."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
