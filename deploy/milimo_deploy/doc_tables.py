"""The tables of the documentation that come from the code: `python -m milimo_deploy.doc_tables` writes them anew.

A page holds a table between `<!-- table: NAME -->` and `<!-- end -->`. With `--check` nothing is written, and the exit
status is 1 when a page is stale; a test does the same. Works in a checkout only, where pages and protos are.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from milimo_arbiter import decisions as arbiter_decisions
from milimo_arbiter import metrics as arbiter_metrics
from milimo_arbiter.settings import ArbiterSettings
from milimo_gateway.contract import PACKAGE, read_contract
from milimo_gateway.settings import GatewaySettings
from milimo_image import defaults as image
from milimo_runtime import limits, metrics
from milimo_runtime.job_trace import SPANS
from milimo_runtime.settings import MeshSettings, ServiceSettings
from milimo_segmentation import defaults as segmentation
from milimo_video import limits as video

from milimo_deploy import doc_reasons, doc_rpcs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

ROOT: Final = Path(__file__).resolve().parents[2]
_BLOCK: Final = re.compile(r"(<!-- table: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)

# Settings without a description of their own, because the name nearly says it.
_MEANINGS: Final = {
    "log_level": "The least important lines that are written",
    "device": "Where models run; auto: cuda, then mps, then cpu",
    "arbiter_address": "Where the arbiter listens and is called",
    "video_address": "Where the video process listens and is called",
    "image_address": "Where the image process listens and is called",
    "segmentation_address": "Where the segmentation process listens and is called",
    "storyboard_address": "Where the storyboard process listens and is called",
    "edge_address": "Where the edge process listens and is called",
    "arbiter_ttl_seconds": "A lease that was not renewed for this long is lost",
    "arbiter_queue_bound": "Requests for memory that may wait; one more is refused",
    "arbiter_batch_seconds": "Time that those turns may take together",
    "arbiter_idle_deadline_seconds": "Time that a holder without work has to give memory back",
    "arbiter_busy_deadline_seconds": "Time that a working holder has to reach a point where it can yield",
    "gateway_access_log_bytes": "Beyond it the access log is rotated; three older ones are kept",
    "gateway_concurrency": "Envoy's worker threads",
    "gateway_requests_per_second": "Of all clients together, twice that in a burst; beyond it 429",
    "gateway_max_streams": "Requests in flight to each process",
    "gateway_max_connections": "Connections of clients",
    "gateway_call_seconds": "Time for one answer; streams have no limit",
    "gateway_upload_seconds": "Time for an upload",
    "gateway_drain_seconds": "Time that running requests have on SIGTERM",
    "gateway_start_seconds": "Time for Envoy to come up",
}
# Defaults that are computed on the machine.
_COMPUTED: Final = {"home": "`~/.local/share/milimo`", "gateway_cors_origins": "this machine, any port"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _default(name: str, field: FieldInfo) -> str:
    if name in _COMPUTED:
        return _COMPUTED[name]
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def settings_table(settings: type[BaseSettings], *, beyond: type[BaseSettings] | None = None) -> str:
    """The settings of a class, without those of the class `beyond`.

    Raises:
        KeyError: when a setting has no description.
    """
    known = set(beyond.model_fields) if beyond else set()
    return table(
        ("variable", "default", ""),
        (
            (f"`MILIMO_{name.upper()}`", _default(name, field), field.description or _MEANINGS[name])
            for name, field in settings.model_fields.items()
            if name not in known
        ),
    )


def _bytes(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size / 1e6:g} MB"


def limits_table() -> str:
    """What is refused beyond these."""
    return table(
        ("limit", "value"),
        (
            ("upload", _bytes(limits.UPLOAD_BYTES)),
            ("gRPC message; media travel as assets", _bytes(limits.MESSAGE_BYTES)),
            ("time for one answer", f"{limits.UNARY_SECONDS:g} s"),
            ("time for a generated text, waiting included", f"{limits.TEXT_SECONDS:g} s"),
            ("time for an upload", f"{limits.UPLOAD_SECONDS:g} s"),
            ("image, uploaded or made", f"{limits.IMAGE_PIXELS / 1e6:g} megapixels"),
            ("images of one request", f"{image.MAX_COUNT}"),
            ("steps of an image", f"{image.MAX_STEPS}"),
            ("references of an image", f"{limits.REFERENCES}"),
            ("side of a video", f"{limits.VIDEO_SIDE:,} pixels"),
            ("frames of a video", f"{limits.VIDEO_FRAMES:,}"),
            ("frame rates", ", ".join(map(str, video.ACCEPTED_FPS))),
            ("frames of one pass of the video model", f"{video.CHUNK_FRAMES}"),
            ("prompt", f"{limits.PROMPT_CHARACTERS:,} characters"),
            ("script", _bytes(limits.SCRIPT_BYTES)),
            ("points of one click request", f"{limits.POINTS:,}"),
            ("boxes of one click request", f"{segmentation.MAX_BOXES}"),
            ("text of a segmentation", f"{segmentation.MAX_TEXT_CHARACTERS:,} characters"),
            ("jobs of one service that have not ended", f"{limits.OPEN_JOBS:,} unless set"),
            ("page of a list", f"{limits.PAGE_SIZE} unless asked"),
        ),
    )


def metrics_table() -> str:
    """What the processes measure."""
    return table(
        ("metric", "unit", "attributes", ""),
        (
            (
                f"`{each.name}`",
                f"`{each.unit}`",
                ", ".join(f"`{name}`" for name in each.attributes) or "–",
                each.description,
            )
            for each in (*metrics.INSTRUMENTS, *arbiter_metrics.INSTRUMENTS)
        ),
    )


def tables() -> Mapping[str, str]:
    """Every generated table by its name."""
    spans = {**SPANS, **arbiter_decisions.SPANS}
    found = {
        "settings of all": settings_table(MeshSettings),
        "settings of services": settings_table(ServiceSettings, beyond=MeshSettings),
        "settings of the arbiter": settings_table(ArbiterSettings, beyond=MeshSettings),
        "settings of the gateway": settings_table(GatewaySettings, beyond=ServiceSettings),
        "limits": limits_table(),
        "spans": table(("span", ""), ((f"`{name}`", text) for name, text in spans.items())),
        "metrics": metrics_table(),
        "reasons": table(("reason", "code", "HTTP", ""), doc_reasons.rows(ROOT)),
    }
    statements = doc_rpcs.comments(ROOT / "protos")
    exists = doc_rpcs.existing()
    for service in read_contract():
        name = service.name.removeprefix(f"{PACKAGE}.")
        found[f"rpcs of {name}"] = table(
            (name, "HTTP", "", "exists"),
            (
                (
                    f"`{method.name}`",
                    "<br>".join(f"`{rule.verb} {rule.path}`" for rule in method.http) or "–",
                    statements.get((name, method.name), ""),
                    "yes" if (name, method.name) in exists else "not yet",
                )
                for method in service.methods
            ),
        )
    return found


def table_names(text: str) -> list[str]:
    """The tables that a page holds, in their order."""
    return [match["name"] for match in _BLOCK.finditer(text)]


def refreshed(text: str, found: Mapping[str, str]) -> str:
    """The page with its tables as they are now. Raises KeyError for a table that there is not."""
    return _BLOCK.sub(lambda match: f"{match[1]}{found[match['name']]}{match[3]}", text)


def pages(root: Path = ROOT) -> Iterator[Path]:
    """The pages that may hold tables."""
    yield root / "README.md"
    yield from sorted((root / "docs").glob("*.md"))


def main() -> int:
    """Writes the stale pages, or with --check names them; 1 when there were any and nothing was written."""
    parser = argparse.ArgumentParser(prog="milimo_deploy.doc_tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check: bool = parser.parse_args().check
    found = tables()
    stale = False
    for page in pages():
        text = page.read_text(encoding="utf-8")
        fresh = refreshed(text, found)
        if fresh != text:
            stale = True
            print(f"{'stale' if check else 'written'}: {page.relative_to(ROOT)}")
            if not check:
                page.write_text(fresh, encoding="utf-8")
    return int(stale and check)


if __name__ == "__main__":
    sys.exit(main())
