"""From nothing to a mesh that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rows import Row, measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from session import Session

NAMES: Final = ("start_light_s", "start_mesh_s")
_LIGHT: Final = ("arbiter", "storyboard", "edge", "gateway")


def measure(session: Session) -> Mapping[str, Row]:
    """Each start has an empty home. The whole mesh's last start is the one that the other figures use."""
    light, whole = [], []
    for _ in range(3):
        with session.running(session.plan(only=_LIGHT)) as (_, seconds):
            light.append(seconds)
    with session.running(session.plan()) as (_, seconds):
        whole.append(seconds)
    assert session.mesh
    whole.append(session.mesh_seconds)
    return {"start_light_s": measured("start_light_s", light), "start_mesh_s": measured("start_mesh_s", whole)}
