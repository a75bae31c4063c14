"""Models with real weights, which can be parked."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_runtime.lease_terms import Grant

    Check = Callable[[], None]

INPUT = torch.linspace(-1, 1, 8)


class Network:
    """A model with real weights, random ones for each load, and a cache beside them."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
        self.cache = ["kept"]

    def __call__(self) -> torch.Tensor:
        with torch.no_grad():
            result = self.layers(INPUT)
        assert isinstance(result, torch.Tensor)
        return result


class Networks:
    """Loads networks and counts them."""

    def __init__(self) -> None:
        self.loads = 0
        self._latest: weakref.ref[Network] | None = None

    def __call__(self, grant: Grant, check: Check) -> Network:
        self.loads += 1
        check()
        network = Network(grant)
        self._latest = weakref.ref(network)
        return network

    def cache(self) -> list[str]:
        """What the network that was loaded last keeps beside its weights; it is there still."""
        network = None if self._latest is None else self._latest()
        assert network is not None
        return network.cache
