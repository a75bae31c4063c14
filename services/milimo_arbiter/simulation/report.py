"""What a run of the simulated world has seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from milimo_arbiter.effects import Decided, Refusal


@dataclass(kw_only=True)
class Report:
    """What a run has seen."""

    steps: int = 0
    grants: int = 0
    expired: int = 0
    revoked: int = 0
    resumed: int = 0
    restarts: int = 0
    deaths: int = 0
    taken_back: int = 0
    longest_wait_s: float = 0.0
    seconds: float = 0.0
    actions: set[str] = field(default_factory=set)
    refusals: set[Refusal] = field(default_factory=set)
    # The kinds of trouble that struck.
    troubles: set[str] = field(default_factory=set)

    def count(self, decided: Decided) -> None:
        """One more decision."""
        self.actions.add(decided.action)
        self.grants += decided.action == "granted"
        self.expired += decided.action == "expired"
        self.revoked += decided.action == "revoked"
        self.resumed += decided.action == "resumed"
        self.taken_back += decided.action == "taken_back"
