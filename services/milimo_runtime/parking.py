"""Weights that left the device and wait in host memory: one flat buffer for a whole model.

Parked weights come back as one copy for each device that they were on. The model's own objects stay as they are; only
where their tensors' bytes lie changes. torch is imported when the first model is parked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import torch

log = logging.getLogger(__name__)

# torch's allocators align by at least as much. A tensor keeps its address modulo this: kernels that choose their path
# by alignment then compute the same bits before and after.
_ALIGNMENT: Final = 64


class NotParkable(Exception):
    """The model holds a tensor that is more than a run of bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """Where a tensor lies in the flat buffer: its first byte, and the bytes to its last element."""

    name: str
    tensor: torch.Tensor
    address: int
    extent: int
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The bytes of the flat buffer that belong to one device."""

    device: torch.device
    start: int
    end: int
    places: Sequence[_Place]


class Layout:
    """Where each parameter and buffer of some modules lies in one flat buffer.

    Tensors that share bytes, such as tied weights and views, share them there too: those are stored once.
    """

    def __init__(self, modules: Iterable[torch.nn.Module]) -> None:
        """Looks at the tensors; copies nothing. Raises NotParkable, naming the tensor."""
        by_device: dict[torch.device, list[_Place]] = {}
        for name, tensor in _tensors(modules):
            _check(name, tensor)
            if tensor.numel():
                by_device.setdefault(tensor.device, []).append(
                    _Place(name=name, tensor=tensor, address=tensor.data_ptr(), extent=_extent(tensor))
                )
        end = 0
        runs = []
        for device, places in sorted(by_device.items(), key=lambda item: str(item[0])):
            start = _aligned(end)
            placed, end = _lay_out(sorted(places, key=lambda place: place.address), start)
            runs.append(_Run(device=device, start=start, end=end, places=placed))
        self.runs: Sequence[_Run] = runs
        self.bytes = end

    @property
    def tensors(self) -> int:
        """How many tensors have a place."""
        return sum(len(run.places) for run in self.runs)


class Parked:
    """A model's weights in host memory, until `restore` or `drop`."""

    def __init__(self, layout: Layout) -> None:
        """Copies the weights to a buffer of `layout.bytes` and lets go of the device's memory.

        The buffer is page-locked where weights come from a CUDA device. Raises MemoryError or what torch raises for
        want of host memory; the model is then as it was.
        """
        import torch

        self._layout = layout
        self._locked = False
        self._host = _any_bytes(layout.bytes)
        self._cuda = [run.device for run in layout.runs if run.device.type == "cuda"]
        if self._cuda:
            self._lock()
        try:
            with torch.no_grad():
                for run in layout.runs:
                    for place in run.places:
                        self._host[place.offset : place.offset + place.extent].copy_(
                            _bytes_of(place), non_blocking=True
                        )
                self._settle()
                for run in layout.runs:
                    _move(run, self._host, 0)
        except BaseException:
            self._unlock()
            raise

    @property
    def bytes(self) -> int:
        """Size of the buffer."""
        return self._layout.bytes

    @property
    def is_locked(self) -> bool:
        """Whether the buffer is page-locked."""
        return self._locked

    def restore(self, check: Callable[[], None]) -> None:
        """Brings the weights back to the devices that they were on, with one copy for each.

        `check` is called before and after each copy; what it raises passes, and so does what torch raises for want of
        memory: the weights are then still parked.
        """
        import torch

        arrived = []
        with torch.no_grad():
            for run in self._layout.runs:
                check()
                flat = torch.empty(run.end - run.start, dtype=torch.uint8, device=run.device)
                flat.copy_(self._host[run.start : run.end], non_blocking=True)
                arrived.append(flat)
                self._settle()
            # A holder that was paused while it copied must not go on with what is somebody else's by now.
            check()
            for run, flat in zip(self._layout.runs, arrived, strict=True):
                _move(run, flat, run.start)
        self.drop()

    def drop(self) -> None:
        """Lets go of the buffer. What was not restored is gone with the model."""
        self._unlock()
        self._host = _any_bytes(0)

    def _settle(self) -> None:
        """Waits until copies to and from CUDA devices are done."""
        if self._cuda:
            import torch

            for device in self._cuda:
                torch.cuda.synchronize(device)

    def _lock(self) -> None:
        # torch's own allocator of page-locked memory rounds up to a power of two, and keeps what is freed.
        cudart: Any = _cudart()
        code = int(cudart.cudaHostRegister(self._host.data_ptr(), self._host.nbytes, 0))
        self._locked = code == 0
        if code:
            log.warning(
                "host memory for parked weights is not page-locked: they will come back more slowly",
                extra={"action": "parking_not_locked", "bytes": self._host.nbytes, "code": code},
            )

    def _unlock(self) -> None:
        if self._locked:
            self._locked = False
            cudart: Any = _cudart()
            cudart.cudaHostUnregister(self._host.data_ptr())


def _cudart() -> Any:
    import torch

    return torch.cuda.cudart()


def _any_bytes(size: int) -> torch.Tensor:
    import torch

    return torch.empty(size, dtype=torch.uint8)


def _tensors(modules: Iterable[torch.nn.Module]) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters, buffers and other tensors that modules have as attributes, each object once."""
    import torch

    seen: set[int] = set()
    for root in modules:
        for path, module in root.named_modules():
            own = {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
            for name, tensor in chain(
                module.named_parameters(recurse=False), module.named_buffers(recurse=False), own.items()
            ):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{type(root).__name__}.{path}.{name}" if path else f"{type(root).__name__}.{name}", tensor


def _check(name: str, tensor: torch.Tensor) -> None:
    """Raises NotParkable for what is more than strided bytes."""
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise NotParkable(f"{name} is a {type(tensor).__name__}: only plain tensors can be parked")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise NotParkable(f"{name} is sparse or quantised: only strided tensors can be parked")
    if tensor.is_meta:
        raise NotParkable(f"{name} has no bytes: it is on the meta device")
    if tensor.is_conj() or tensor.is_neg():
        raise NotParkable(f"{name} is a lazily conjugated or negated view")
    if tensor.is_inference():
        raise NotParkable(f"{name} was made in inference mode, and its memory cannot be exchanged")


def _extent(tensor: torch.Tensor) -> int:
    """Bytes from the first to the last element, gaps included."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.size(), tensor.stride(), strict=True))
    return int((last + 1) * tensor.element_size())


def _lay_out(places: Sequence[_Place], start: int) -> tuple[list[_Place], int]:
    """Gives each tensor its offset; tensors whose bytes overlap keep their distance. Returns them and the end."""
    placed: list[_Place] = []
    end = start
    first = 0
    while first < len(places):
        stop = places[first].address + places[first].extent
        after = first + 1
        while after < len(places) and places[after].address < stop:
            stop = max(stop, places[after].address + places[after].extent)
            after += 1
        together = places[first:after]
        address = together[0].address
        base = _aligned(end) + _shift(together)
        placed.extend(
            _Place(
                name=place.name,
                tensor=place.tensor,
                address=place.address,
                extent=place.extent,
                offset=base + place.address - address,
            )
            for place in together
        )
        end = base + stop - address
        first = after
    return placed, end


def _shift(together: Sequence[_Place]) -> int:
    """Bytes past an aligned offset at which tensors that overlap begin: as before, or where all are aligned."""
    address = together[0].address
    shifts: list[int] = [address % _ALIGNMENT, *range(_ALIGNMENT)]
    for shift in shifts:
        if all((shift + place.address - address) % place.tensor.element_size() == 0 for place in together):
            return shift
    raise NotParkable(f"{together[0].name} shares bytes with tensors of other alignment")


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _bytes_of(place: _Place) -> torch.Tensor:
    """The bytes of a tensor where they are now, shape (extent,)."""
    import torch

    tensor = place.tensor
    first = tensor.storage_offset() * tensor.element_size()
    flat = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return flat.set_(tensor.untyped_storage(), first, (place.extent,), (1,))


def _move(run: _Run, flat: torch.Tensor, start: int) -> None:
    """Has the tensors be views into `flat`, whose first byte is byte `start` of the layout."""
    for place in run.places:
        tensor = place.tensor
        begin = place.offset - start
        view = flat[begin : begin + place.extent].view(tensor.dtype)
        tensor.data = view.as_strided(tensor.size(), tensor.stride())
