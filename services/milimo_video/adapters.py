"""LoRAs beside the weights of a loaded checkpoint: which are there, and which work at the moment.

They are not fused: another weight of a LoRA, or another choice of them, changes factors and loads nothing, and a LoRA
that is new is read into a few layers beside the transformer, which stays as it is.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import torch

from milimo_video import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from milimo_video.lora_file import LoraFile
    from milimo_video.request import Lora

    # A LoRA's name, file, and when that was written: another file under the same name is another LoRA.
    Key = tuple[str, str, int]

_DISTILLED: Final = "distilled"


@contextlib.contextmanager
def _several_are_meant() -> Iterator[None]:
    """Within it the libraries do not warn that there is more than one LoRA, and do not list the others' weights."""
    log = logging.getLogger("diffusers.loaders.peft")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute", category=UserWarning)
            yield
    finally:
        log.setLevel(level)


class Adapters:
    """The LoRAs of one checkpoint's transformer and connectors. Belongs to the thread that computes."""

    def __init__(
        self,
        pipeline: Any,
        *,
        find: Callable[[str], LoraFile],
        distilled: Path | None = None,
        capacity: int = limits.MAX_LORAS,
    ) -> None:
        """Reads the distilled LoRA of a dev checkpoint at once, others when they are first used.

        `pipeline` is one of those that share the checkpoint's parts; `find` knows the LoRAs of the registry. At most
        `capacity` LoRAs stay beside the weights, and those of the request at hand.
        """
        self._pipeline = pipeline
        self._find = find
        self._capacity = capacity
        self._loaded: OrderedDict[Key, str] = OrderedDict()
        self._distilled = distilled is not None
        # How many were read so far.
        self.loads = 0
        if distilled is not None:
            self._load(distilled, _DISTILLED)
            pipeline.disable_lora()

    def __len__(self) -> int:
        """LoRAs of the registry that are beside the weights."""
        return len(self._loaded)

    @contextlib.contextmanager
    def applied(self, loras: Sequence[Lora], *, distilled: bool = False) -> Iterator[None]:
        """Within it these LoRAs work, each with its weight, and with `distilled` also that of a dev checkpoint.

        Raises as the `find` that it was made with, for a LoRA that has gone since it was asked for.
        """
        weights = {self._adapter(lora): lora.weight for lora in loras}
        if distilled and self._distilled:
            weights = {_DISTILLED: 1.0, **weights}
        if not weights:
            yield
            return
        self._pipeline.set_adapters(list(weights), list(weights.values()))
        self._pipeline.enable_lora()
        try:
            yield
        finally:
            self._pipeline.disable_lora()
            self._forget(self._capacity)

    def clear(self) -> None:
        """Drops the LoRAs of the registry."""
        self._forget(0)

    def _adapter(self, lora: Lora) -> str:
        """The adapter of a LoRA, which is read when it is not there."""
        file = self._find(lora.name)
        key = (file.name, str(file.path), file.path.stat().st_mtime_ns)
        if key not in self._loaded:
            # The name of a LoRA may hold dots, the name of a module may not.
            name = f"lora_{self.loads}"
            self._load(file.path, name)
            self._loaded[key] = name
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _load(self, path: Path, adapter: str) -> None:
        with torch.no_grad(), _several_are_meant():
            self._pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=adapter)
        self.loads += 1

    def _forget(self, keep: int) -> None:
        while len(self._loaded) > keep:
            _, adapter = self._loaded.popitem(last=False)
            self._pipeline.delete_adapters(adapter)
