"""The two autoencoders of a checkpoint: the native file and diffusers' folder. One is loaded at a time.

Both become the same class, so they give the same image for the same weights. A change of the one for the other loads
nothing else.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from milimo_runtime.errors import ModelMissing

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from diffusers import AutoencoderKLFlux2
    from milimo_runtime.device import Placement

NATIVE_FILE = "ae.safetensors"
FOLDER = "vae"


class Autoencoder(Enum):
    """Where the autoencoder's weights come from."""

    NATIVE = "native"
    DIFFUSERS = "diffusers"


def autoencoders_at(root: Path) -> frozenset[Autoencoder]:
    """Those whose files are below `root`."""
    there = set()
    if (root / NATIVE_FILE).is_file():
        there.add(Autoencoder.NATIVE)
    if (root / FOLDER / "config.json").is_file() and any((root / FOLDER).glob("*.safetensors")):
        there.add(Autoencoder.DIFFUSERS)
    return frozenset(there)


def chosen(enable_ae: bool | None, there: AbstractSet[Autoencoder]) -> Autoencoder:
    """The autoencoder for a request's `enable_ae`; the other one when its files are missing.

    `None` prefers the native one. Pure.
    """
    wanted, other = Autoencoder.NATIVE, Autoencoder.DIFFUSERS
    if enable_ae is False:
        wanted, other = other, wanted
    return wanted if wanted in there or other not in there else other


class AutoencoderSlot:
    """Holds the autoencoder that is loaded, and puts the other one in its place when that is asked for."""

    def __init__(self, root: Path, placement: Placement) -> None:
        """Nothing is loaded before the first `select`."""
        self._root = root
        self._placement = placement
        self._loaded: AutoencoderKLFlux2 | None = None
        self._kind: Autoencoder | None = None
        # How often each was loaded.
        self.loads: Counter[Autoencoder] = Counter()

    @property
    def kind(self) -> Autoencoder:
        """Which one is loaded."""
        if self._kind is None:
            raise RuntimeError("no autoencoder is loaded")
        return self._kind

    @property
    def loaded(self) -> AutoencoderKLFlux2:
        """The one that is loaded."""
        if self._loaded is None:
            raise RuntimeError("no autoencoder is loaded")
        return self._loaded

    def select(self, kind: Autoencoder) -> None:
        """Loads this one in place of the other, which stays when that fails. Raises ModelMissing."""
        if kind is self._kind:
            return
        self._loaded = _load(self._root, kind, self._placement)
        self._kind = kind
        self.loads[kind] += 1


def _load(root: Path, kind: Autoencoder, placement: Placement) -> AutoencoderKLFlux2:
    from diffusers import AutoencoderKLFlux2
    from safetensors import SafetensorError

    from milimo_image.native_autoencoder import load_native_autoencoder

    try:
        if kind is Autoencoder.NATIVE:
            model = load_native_autoencoder(root / NATIVE_FILE, root / FOLDER / "config.json", placement.torch_dtype())
        else:
            model = AutoencoderKLFlux2.from_pretrained(
                root / FOLDER, torch_dtype=placement.torch_dtype(), use_safetensors=True, local_files_only=True
            )
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"the autoencoder of FLUX.2 at {root} cannot be loaded: {error}") from error
    return model.eval().to(placement.device)
