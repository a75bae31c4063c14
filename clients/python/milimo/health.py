"""Health checks (grpc.health.v1) of the processes behind a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import grpc

# The gateway takes a check to the process that this header names.
PROCESS_HEADER: Final = "milimo-process"
# The two messages are as small as this, and their package is not needed for anything else: a request for the process as
# a whole, and an answer whose only field, the status, is SERVING.
_WHOLE_PROCESS: Final = b""
_SERVING: Final = b"\x08\x01"


def _as_it_is(message: bytes) -> bytes:
    return message


class HealthStub:
    """Asks for the health of processes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", request_serializer=_as_it_is, response_deserializer=_as_it_is
        )

    def serves(self, process: str, *, timeout: float | None = None) -> bool:
        """Whether a process, such as "video", says that it serves; one that drains does not.

        Raises:
            MilimoError: UNAVAILABLE or DEADLINE_EXCEEDED when it does not answer, UNIMPLEMENTED when there is none.
        """
        answer: bytes = self._check(_WHOLE_PROCESS, timeout=timeout, metadata=((PROCESS_HEADER, process),))
        return answer == _SERVING
