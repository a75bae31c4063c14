"""The arbiter's rules in a world where everything goes wrong. A tool: the arbiter itself does not import it."""

from __future__ import annotations

from milimo_arbiter.simulation.laws import Violation
from milimo_arbiter.simulation.report import Report
from milimo_arbiter.simulation.terms import LONGEST_WAIT_S
from milimo_arbiter.simulation.world import simulate

__all__ = ["LONGEST_WAIT_S", "Report", "Violation", "simulate"]
