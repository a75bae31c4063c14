"""The documentation says what is true: its tables come from the code, its links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from milimo_deploy import doc_rpcs, doc_tables
from milimo_gateway.contract import PACKAGE, read_contract

ROOT = Path(__file__).parents[2]
PAGES = [*doc_tables.pages(ROOT), ROOT / "clients/python/README.md", ROOT / "clients/typescript/README.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = doc_tables.tables()

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    """`python -m milimo_deploy.doc_tables` writes them anew."""
    text = page.read_text(encoding="utf-8")
    assert text == doc_tables.refreshed(text, TABLES)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_table_stands_on_one_page() -> None:
    shown = Counter(name for page in PAGES for name in doc_tables.table_names(page.read_text(encoding="utf-8")))
    assert shown == Counter(TABLES.keys())


def test_every_rpc_stands_on_one_page_with_its_status() -> None:
    exists = doc_rpcs.existing()
    rows = Counter(
        line
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and line.endswith(("| yes |", "| not yet |"))
    )
    expected: Counter[str] = Counter()
    for service in read_contract():
        name = service.name.removeprefix(f"{PACKAGE}.")
        table = TABLES[f"rpcs of {name}"].splitlines()[2:]
        for line, method in zip(table, service.methods, strict=True):
            status = "yes" if (name, method.name) in exists else "not yet"
            assert line.startswith(f"| `{method.name}` |")
            assert line.endswith(f"| {status} |")
            expected[line] += 1
    assert rows == expected


@pytest.mark.parametrize(
    ("service", "method", "is_there"),
    [
        ("JobService", "GetJob", True),
        ("MemoryArbiter", "Lease", True),
        ("WorkerService", "FollowJobs", True),
        ("JobService", "PauseQueue", False),
        ("SegmentationService", "PropagateTracking", False),
        ("CompatService", "TrackStart", False),
    ],
)
def test_status_is_told_by_the_servicers(service: str, method: str, is_there: bool) -> None:
    assert ((service, method) in doc_rpcs.existing()) is is_there


def test_method_that_nobody_wrote_is_not_there() -> None:
    class Empty(doc_rpcs.SERVICERS["ModelService"].__base__):  # type: ignore[misc]
        """A servicer that answers nothing."""

    assert not doc_rpcs.is_answered(Empty, "ListModels")


def test_stale_table_is_seen() -> None:
    text = "before\n<!-- table: limits -->\n| old |\n<!-- end -->\nafter\n"
    fresh = doc_tables.refreshed(text, TABLES)
    assert fresh == f"before\n<!-- table: limits -->\n{TABLES['limits']}<!-- end -->\nafter\n"


def test_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        doc_tables.refreshed("<!-- table: nonsense -->\n<!-- end -->", TABLES)


def test_targets_of_make_exist() -> None:
    named = {
        target for page in PAGES for target in re.findall(r"`?\bmake ([a-z-]+)`", page.read_text(encoding="utf-8"))
    }
    named |= set(re.findall(r"^\$ make ([a-z-]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "up"} <= named <= targets


def test_modules_named_for_python_m_exist() -> None:
    named = {
        module for page in PAGES for module in re.findall(r"`python -m ([\w.]+)", page.read_text(encoding="utf-8"))
    }
    folders = [ROOT / "clients/python", *(ROOT / name for name in ("services", "gateway", "deploy", "models"))]
    missing = [
        module
        for module in named
        if not any((folder / module.replace(".", "/")).with_suffix(".py").is_file() for folder in folders)
        and not any((folder / module.replace(".", "/") / "__main__.py").is_file() for folder in folders)
    ]
    assert named
    assert missing == []


def test_commands_named_exist() -> None:
    """Each `milimo …` command of the pages stands in the command's own reference."""
    known = re.findall(
        r"^## `milimo ([a-z -]+?)(?: \[|`| [A-Z])", (ROOT / "docs/cli.md").read_text(encoding="utf-8"), re.M
    )
    named = {
        words
        for page in PAGES
        for words in re.findall(
            r"`(?:\.venv/bin/)?milimo ((?:[a-z]+(?:-[a-z]+)? ?)+)", page.read_text(encoding="utf-8")
        )
    }
    assert named
    assert [words for words in named if words.strip() not in known] == []


def test_python_that_is_named_is_the_one_that_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')}" in README


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130
