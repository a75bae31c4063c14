"""The benchmark's own arithmetic: the form of bench.json, the page that is made of it, and the goals."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

BENCH = Path(__file__).parents[1] / "bench"
# What figures are called is agreed with those who read them.
NAMES = [
    "mesh_overhead_ratio",
    "progress_event_ms",
    "accepted_to_running_ms",
    "rpc_p50_ms",
    "rpc_rps_64",
    "lease_acquire_p50_ms",
    "lease_acquire_p99_ms",
    "lease_grants_per_s",
    "lease_handover_ms",
    "lease_waiters_512_served_s",
    "lease_waiters_512_handover_ms",
    "simulated_steps",
    "double_grants",
    "overcommitted_bytes",
    "mutants_caught",
    "unpark_bandwidth_share",
    "watchers_1000_p99_ms",
    "start_light_s",
    "start_mesh_s",
    "chunk_time_ratio",
    "chunk_memory_ratio",
    "seam_ratio_latent",
    "seam_ratio_reencode",
    "drift_latent",
    "drift_reencode",
    "second_click_ratio",
    "match_10k_1k_s",
    "parse_1mb_s",
    "fanout_500_accept_s",
    "fanout_500_lost",
    "rss_arbiter_mb",
    "rss_storyboard_mb",
    "rss_video_mb",
    "rss_image_mb",
    "rss_segmentation_mb",
    "rss_edge_mb",
    "rss_gateway_mb",
    "rss_envoy_mb",
    "rss_supervisor_mb",
    "idle_cpu_share",
    "ltx2_step_s_eager",
    "ltx2_step_s_compiled",
    "ltx2_step_s_fp8",
    "klein_4step_s",
    "sam3_image_ms",
]
MACHINE = {
    "date": "2026-01-31",
    "cores": 2,
    "cpu": "A | B",
    "memory_gib": 23.4,
    "os": "Linux",
    "python": "3.11.7",
    "torch": "2.13.0",
    "model_threads": 1,
}


@pytest.fixture(scope="module", autouse=True)
def path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return importlib.import_module("figures")


@pytest.fixture(scope="module")
def rows() -> ModuleType:
    return importlib.import_module("rows")


@pytest.fixture(scope="module")
def report() -> ModuleType:
    return importlib.import_module("report")


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return importlib.import_module("run")


def document(figures: ModuleType, rows: ModuleType, **taken: Any) -> dict[str, Any]:
    """A bench.json in which only the given figures were taken."""
    missing = rows.Missing(why="left out of this run")
    found = {figure.name: rows.row_json(taken.get(figure.name, missing)) for figure in figures.FIGURES}
    return {"machine": MACHINE, "rows": found}


def test_the_names_are_those_that_were_agreed(figures: ModuleType) -> None:
    assert [figure.name for figure in figures.FIGURES] == NAMES


def test_every_figure_is_taken_by_one_group_or_says_why_not(figures: ModuleType, run: ModuleType) -> None:
    taken = [name for group in run.GROUPS for name in group.names]
    assert sorted([*taken, *figures.UNMEASURED]) == sorted(NAMES)


def test_a_row_has_exactly_this_form(rows: ModuleType) -> None:
    beside = rows.Beside(what="another", value=2.0)
    row = rows.measured("rpc_p50_ms", [3.0, 1.0, 1.23456], beside=beside)
    assert rows.row_json(row) == {
        "value": 1.235,
        "unit": "ms",
        "runs": 3,
        "min": 1.0,
        "max": 3.0,
        "beside": {"what": "another", "value": 2.0},
    }
    assert set(rows.row_json(rows.measured("rpc_p50_ms", [1.0]))) == {"value", "unit", "runs", "min", "max"}
    assert rows.row_json(rows.Missing(why="no CUDA device")) == {"why": "no CUDA device"}


def test_a_row_comes_back_from_json(rows: ModuleType) -> None:
    for row in (
        rows.measured("rpc_p50_ms", [1.0, 2.0], beside=rows.Beside(what="another", value=0.5)),
        rows.measured("start_mesh_s", [4.5], value=4.5),
        rows.Missing(why="so"),
    ):
        assert rows.row_from_json(json.loads(json.dumps(rows.row_json(row)))) == row


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_no_figure_comes_of_nothing(rows: ModuleType, samples: list[float]) -> None:
    with pytest.raises(ValueError, match="rpc_p50_ms"):
        rows.measured("rpc_p50_ms", samples)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_percentiles_are_nearest_ranks(rows: ModuleType, share: float, expected: int) -> None:
    assert rows.percentile(range(100, 0, -1), share) == expected


@pytest.mark.parametrize(
    ("goal", "value", "highest", "beside", "met"),
    [
        ({"at_most": 5.0}, 5.0, 9.0, None, True),
        ({"at_most": 5.0}, 5.1, 9.0, None, False),
        ({"at_least": 800.0}, 800.0, 900.0, None, True),
        ({"at_least": 800.0}, 799.0, 900.0, None, False),
        ({"highest": 50.0}, 10.0, 50.0, None, True),
        ({"highest": 50.0}, 10.0, 51.0, None, False),
        ({"over_beside": 0.5}, 1.5, 2.0, 1.0, True),
        ({"over_beside": 0.5}, 1.6, 2.0, 1.0, False),
        ({"over_beside": 0.5}, 9.0, 9.0, None, True),
        ({"at_most": 1.5, "over_beside": 0.0}, 1.2, 2.0, 1.1, False),
        ({"at_most": 1.5, "over_beside": 0.0}, 1.0, 2.0, 1.1, True),
    ],
)
def test_goals(
    figures: ModuleType, rows: ModuleType, goal: Any, value: float, highest: float, beside: float | None, met: bool
) -> None:
    other = None if beside is None else rows.Beside(what="another", value=beside)
    row = rows.Measured(value=value, unit="", runs=2, min=0.0, max=highest, beside=other)
    assert figures.Goal(**goal).is_met(row) is met


def test_the_page_shows_each_figure_once(figures: ModuleType, rows: ModuleType, report: ModuleType) -> None:
    beside = rows.Beside(what="a bare server", value=0.97)
    page = report.report(
        document(
            figures,
            rows,
            rpc_p50_ms=rows.measured("rpc_p50_ms", [2.5, 2.4, 2.6], beside=beside),
            start_light_s=rows.measured("start_light_s", [2.0]),
            simulated_steps=rows.measured("simulated_steps", [1e6]),
        )
    )
    for name in NAMES:
        assert page.count(f"| `{name}` |") == 1
    assert "| `rpc_p50_ms` | **2.5** ms | 2.4 – 2.6 (3) | ≤ 0.5 more than beside it: **missed** | 0.97: a bare" in page
    assert "| `start_light_s` | **2** s | 2 – 2 (1) | ≤ 3: met |" in page
    assert "| `simulated_steps` | **1,000,000** |" in page
    measured_part, missing_part = page.split("## Not measured")
    assert "`rpc_p50_ms`" in measured_part
    assert "| `start_mesh_s` | left out of this run |" in missing_part
    assert "- Date: 2026-01-31" in page
    tables = [line for line in page.splitlines() if line.startswith("| `")]
    assert {line.count(" | ") for line in tables} == {5, 2}


def test_the_page_needs_every_row(figures: ModuleType, rows: ModuleType, report: ModuleType) -> None:
    incomplete = document(figures, rows)
    del incomplete["rows"]["parse_1mb_s"]
    with pytest.raises(KeyError, match="parse_1mb_s"):
        report.report(incomplete)


def test_text_cannot_break_the_table(figures: ModuleType, rows: ModuleType, report: ModuleType) -> None:
    page = report.report(document(figures, rows, parse_1mb_s=rows.Missing(why="failed: a | b\nand more")))
    assert "| `parse_1mb_s` | failed: a \\| b and more |" in page


def test_the_machine_is_described_and_not_named() -> None:
    import platform

    facts = importlib.import_module("machine").machine(date="2026-01-31", threads=1)
    assert set(facts) == set(MACHINE)
    assert platform.node() not in json.dumps(facts)


def test_only_what_is_asked_for_is_taken(run: ModuleType, report: ModuleType, tmp_path: Path) -> None:
    out, page = tmp_path / "bench.json", tmp_path / "benchmarks.md"
    arguments = ["--only", "parse_1mb_s", "--runs", "1", "--out", str(out), "--report", str(page)]
    assert run.main(arguments) == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    assert list(written) == ["machine", "rows"]
    assert list(written["rows"]) == NAMES
    taken = {name for name, row in written["rows"].items() if "value" in row}
    assert taken == {"parse_1mb_s"}
    assert written["rows"]["parse_1mb_s"]["runs"] == 1
    assert page.read_text(encoding="utf-8") == report.report(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "benchmarks.md"]


def test_a_group_that_fails_costs_only_its_own_figures(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(session: object) -> dict[str, Any]:
        raise RuntimeError("the disk is full\n  | a long log")

    names = ("parse_1mb_s",)
    monkeypatch.setattr(run, "GROUPS", (run.Group(names=names, measure=broken),))
    out = tmp_path / "bench.json"
    assert run.main(["--only", *names, "--out", str(out)]) == 1
    row = json.loads(out.read_text(encoding="utf-8"))["rows"]["parse_1mb_s"]
    assert row == {"why": "failed: RuntimeError: the disk is full"}
    assert "Traceback" in capsys.readouterr().err
