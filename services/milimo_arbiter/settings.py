"""What the arbiter can be told, as MILIMO_ARBITER_… or in the TOML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from milimo_runtime.settings import MeshSettings
from pydantic import Field, model_validator

from milimo_arbiter.state import Policy

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = Policy()


class ArbiterSettings(MeshSettings):
    """Budget and rules of the arbiter; what all processes share comes from the base."""

    arbiter_device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        default="auto", description="Which memory to lend: the accelerators that are found, or host memory"
    )
    arbiter_budget_bytes: int | None = Field(
        default=None,
        gt=0,
        description="Bytes of each device to lend; default: all but the reserve, and of host memory 512 MiB for the "
        "small families: too little for their video and image models together",
    )
    arbiter_reserve_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Never lent, when no budget is given; default: a sixteenth but at most 2 GiB on CUDA, a quarter of "
        "unified memory, half of host memory",
    )
    arbiter_parking_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Host memory to lend for parked weights; default: half of what is free when the arbiter starts, "
        "none where the devices are host memory themselves",
    )
    arbiter_kill_seconds: float | None = Field(
        default=None,
        gt=0,
        description="After a missed deadline a holder has so long to hear of it and release; then its process is "
        "killed. Default: nobody is killed",
    )
    arbiter_ollama_url: str | None = Field(
        default=None,
        description="Ollama on this host, as http://127.0.0.1:11434: asked for its memory when needed",
    )
    arbiter_ollama_device: str | None = Field(
        default=None, description="Where Ollama keeps its models, such as cuda:0; needed where several devices are lent"
    )
    arbiter_ollama_bytes: int | None = Field(
        default=None,
        ge=0,
        description="What Ollama is taken to hold while it has never said so; without it nothing is lent meanwhile",
    )
    arbiter_ttl_seconds: float = Field(default=_DEFAULT.ttl_s, ge=1, le=300)
    arbiter_grace_seconds: float = Field(
        default=_DEFAULT.grace_s, ge=1, le=600, description="Wait for holders after a restart; at least the TTL"
    )
    arbiter_queue_bound: int = Field(default=_DEFAULT.queue_bound, ge=1, le=100_000)
    arbiter_ageing_seconds: float = Field(
        default=_DEFAULT.ageing_s, gt=0, description="Waiting time that is worth one class of priority"
    )
    arbiter_batch_turns: int = Field(
        default=_DEFAULT.batch_turns, ge=0, description="Turns that a tenant may still begin while others wait"
    )
    arbiter_batch_seconds: float = Field(default=_DEFAULT.batch_s, ge=0)
    arbiter_idle_deadline_seconds: float = Field(default=_DEFAULT.idle_deadline_s, gt=0)
    arbiter_busy_deadline_seconds: float = Field(default=_DEFAULT.busy_deadline_s, gt=0)

    @model_validator(mode="after")
    def _grace_outlives_leases(self) -> Self:
        if self.arbiter_grace_seconds < self.arbiter_ttl_seconds:
            raise ValueError(
                f"arbiter_grace_seconds is {self.arbiter_grace_seconds}: it must be at least arbiter_ttl_seconds, "
                f"{self.arbiter_ttl_seconds}, or memory would be granted before its holder has stopped"
            )
        return self

    @property
    def arbiter_store(self) -> Path:
        """The file of leases and fencing tokens."""
        return self.home / "arbiter.sqlite"

    @property
    def policy(self) -> Policy:
        """The rules in force."""
        return Policy(
            ttl_s=self.arbiter_ttl_seconds,
            grace_s=self.arbiter_grace_seconds,
            queue_bound=self.arbiter_queue_bound,
            ageing_s=self.arbiter_ageing_seconds,
            batch_turns=self.arbiter_batch_turns,
            batch_s=self.arbiter_batch_seconds,
            idle_deadline_s=self.arbiter_idle_deadline_seconds,
            busy_deadline_s=self.arbiter_busy_deadline_seconds,
            kill_after_s=self.arbiter_kill_seconds,
        )
