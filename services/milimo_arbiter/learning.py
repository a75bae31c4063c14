"""Rules 2.9 and 2.10 of `core`: what a turn has needed, in bytes and in time, is expected of the next of its kind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from milimo_arbiter.effects import Learn
from milimo_arbiter.state import Peak

if TYPE_CHECKING:
    from milimo_arbiter.state import Footprint, Lease, Request, State
    from milimo_arbiter.transition import Transition

# Peaks that are remembered: the latest; and lengths of turns.
PEAKS: Final = 1_024
LENGTHS: Final = 1_024
# What the latest turn counts in the mean.
_LATEST: Final = 0.25


def learn(change: Transition, lease: Lease, measured: int) -> None:
    """The turn that ends has needed that much at most; 0 when nobody measured, which teaches nothing.

    A higher peak counts at once, a lower one pulls the last one half way down: one turn that needed little does not
    show that the next one will. What is more than the device has is no measurement.
    """
    workload = lease.workload
    if workload is None or not workload.model or not 0 < measured <= change.state.devices[lease.device].total:
        return
    key = (workload, lease.footprint)
    before = change.state.peaks.get(key)
    size = measured if before is None or measured >= before else (before + measured + 1) // 2
    peaks = {**{other: one for other, one in change.state.peaks.items() if other != key}, key: size}
    while len(peaks) > PEAKS:
        del peaks[next(iter(peaks))]
    change.state = replace(change.state, peaks=peaks)
    if size != before:
        change.effects.append(Learn(peak=Peak(workload=workload, footprint=lease.footprint, bytes=size)))


def learn_length(change: Transition, lease: Lease) -> None:
    """The lease's turn ends now: how long it took, without the load that the first one begins with."""
    turn = lease.turn
    if turn is None or turn.since is None or lease.quarantine is not None or not lease.confirmed:
        return
    load = lease.load_seconds if turn.since == lease.granted_at else 0.0
    seconds = max(0.0, change.now - turn.since - load)
    lengths = dict(change.state.lengths)
    for key in {(lease.tenant, lease.workload), (lease.tenant, None)}:
        before = lengths.pop(key, seconds)
        lengths[key] = before + _LATEST * (seconds - before)
    while len(lengths) > LENGTHS:
        del lengths[next(iter(lengths))]
    change.state = replace(change.state, lengths=lengths)


def with_peaks(state: State, request: Request) -> Request:
    """The request with the bytes that were measured for the same workload, and a margin, where there are any."""
    workload = request.workload
    if workload is None:
        return request

    def measured(footprint: Footprint) -> Footprint:
        peak = state.peaks.get((workload, footprint.name))
        if peak is None:
            return footprint
        # The margin must not make impossible what was possible.
        most = max((state.devices[one].budget for one in footprint.places(state.devices)), default=peak)
        size = max(peak, min(math.ceil(peak * (1 + state.policy.peak_margin)), most))
        return replace(footprint, bytes=size)

    return replace(request, footprints=tuple(measured(footprint) for footprint in request.footprints))
