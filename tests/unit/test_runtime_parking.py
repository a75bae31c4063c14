"""Weights in one flat buffer and back: the same bits, shared where they were shared, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.parking import Layout, NotParkable, Parked
from safetensors.torch import load_file, save_file
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn]


def nothing() -> None:
    """Nobody objects."""


def bits(module: nn.Module) -> dict[str, bytes]:
    """The bytes of each tensor, by name, as a plain copy of it has them."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        name: bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())
        for name, tensor in named.items()
        if tensor.numel()
    }


def module_of(*tensors: torch.Tensor) -> nn.Module:
    module = nn.Module()
    for index, tensor in enumerate(tensors):
        module.register_buffer(f"b{index}", tensor)
    return module


@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), max_size=6))
def test_every_bit_comes_back_in_one_buffer(shapes: list[tuple[torch.dtype, list[int]]]) -> None:
    generator = torch.Generator().manual_seed(0)
    module = module_of(
        *(torch.randint(0, 2, shape, generator=generator).to(dtype=dtype) for dtype, shape in shapes),
    )
    before = bits(module)
    strides = [tensor.stride() for tensor in module.buffers()]
    parked = Parked(Layout([module]))
    assert bits(module) == before
    parked.restore(nothing)
    assert bits(module) == before
    assert [tensor.stride() for tensor in module.buffers()] == strides
    assert len({tensor.untyped_storage().data_ptr() for tensor in module.buffers() if tensor.numel()}) <= 1


def test_tied_weights_and_views_are_stored_once_and_stay_tied() -> None:
    embedding, head = nn.Embedding(100, 16), nn.Linear(16, 100, bias=False)
    head.weight = embedding.weight
    head.register_buffer("row", embedding.weight.detach()[3])
    head.register_buffer("column", embedding.weight.detach()[:, 2])
    layout = Layout([embedding, head])
    assert 100 * 16 * 4 <= layout.bytes < 100 * 16 * 4 + 128
    Parked(layout).restore(nothing)
    assert head.weight is embedding.weight
    with torch.no_grad():
        head.weight.fill_(7)
    assert torch.equal(head.get_buffer("row"), torch.full((16,), 7.0))
    assert torch.equal(head.get_buffer("column"), torch.full((100,), 7.0))


def test_memory_formats_and_gaps_survive() -> None:
    picture = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last)
    module = module_of(picture, torch.arange(20)[::3], torch.ones(1).expand(5, 5), torch.empty(0))
    before = bits(module)
    Parked(Layout([module])).restore(nothing)
    assert bits(module) == before
    assert module.get_buffer("b0").is_contiguous(memory_format=torch.channels_last)


def test_weights_that_are_mapped_from_a_file_leave_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(7, dtype=torch.int8), "b": torch.rand(33), "c": torch.rand(5, 3).half()}, path)
    loaded = load_file(path)
    module = module_of(*loaded.values())
    before = bits(module)
    parked = Parked(Layout([module]))
    with path.open("r+b") as file:
        file.truncate(0)
    parked.restore(nothing)
    assert bits(module) == before


def test_a_tensor_keeps_its_alignment() -> None:
    whole = torch.zeros(1_000)
    places = [1, 50, 301, 702]
    module = module_of(*(whole[place : place + 9] for place in places))
    before = [tensor.data_ptr() % 64 for tensor in module.buffers()]
    parked = Parked(Layout([module]))
    assert [tensor.data_ptr() % 64 for tensor in module.buffers()] == before
    parked.restore(nothing)
    assert [tensor.data_ptr() % 64 for tensor in module.buffers()] == before


def test_parameters_stay_the_same_objects_and_keep_what_they_require() -> None:
    module = nn.Linear(3, 3)
    module.bias.requires_grad_(False)
    cached = torch.ones(3)
    module.cached = cached
    weight = module.weight
    layout = Layout([module])
    assert layout.tensors == 3
    Parked(layout).restore(nothing)
    assert module.weight is weight
    assert (module.weight.requires_grad, module.bias.requires_grad) == (True, False)
    assert module.cached is cached


class Objection(Exception):
    """Raised by a check."""


@pytest.mark.parametrize("at", [1, 2])
def test_a_restore_that_is_stopped_leaves_the_weights_parked(at: int) -> None:
    module = nn.Linear(4, 4)
    before = bits(module)
    parked = Parked(Layout([module]))
    host = module.weight.data_ptr()
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == at:
            raise Objection

    with pytest.raises(Objection):
        parked.restore(check)
    assert module.weight.data_ptr() == host
    parked.restore(nothing)
    assert module.weight.data_ptr() != host
    assert bits(module) == before


class Special(torch.Tensor):
    """A tensor that is more than its bytes."""


REFUSED: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "a subclass": (lambda: torch.ones(3).as_subclass(Special), "b0 is a Special: only plain tensors"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "b0 is sparse"),
    "without bytes": (lambda: torch.ones(3, device="meta"), "b0 has no bytes"),
    "conjugated": (lambda: torch.ones(3, dtype=torch.complex64).conj(), "b0 is a lazily conjugated"),
}


@pytest.mark.parametrize(("make", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_more_than_bytes_is_refused_by_name(make: Callable[[], torch.Tensor], problem: str) -> None:
    tensor = make()
    module = module_of(tensor)
    with pytest.raises(NotParkable, match=problem):
        Layout([module])
    assert module.get_buffer("b0") is tensor
