"""What the script parser answers: scenes, shots and kept texts, each with its place in the source.

The law of the parser ("loses no word"), for every accepted text:

* Headings, shots and kept texts are *leaves*. A leaf's own text is `source[start:end]` without the spans of the kept
  texts that lie inside it (a note in the middle of an action paragraph).
* Every character of the source that is neither white space, nor ASCII punctuation, nor a leading byte order mark
  belongs to the own text of exactly one leaf.
* A leaf's fields hold exactly those characters of its own text, in their order; only in a dialogue do the
  parentheticals (in `action`) stand apart from the speech. So every word of the source is found in the result.
* Scenes are disjoint and in order. What a scene owns lies within its span; what no scene owns is in the script's
  `kept`.

In a Final Draft document "the source" means the character data of its paragraphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ScriptMode(StrEnum):
    """How a script is read. AUTO chooses one of the others; a result never says AUTO."""

    AUTO = "auto"
    SCREENPLAY = "screenplay"
    NUMBERED = "numbered"
    FREEFORM = "freeform"


class ShotType(StrEnum):
    """The framing of a shot."""

    CLOSE_UP = "close_up"
    MEDIUM = "medium"
    WIDE = "wide"
    ESTABLISHING = "establishing"
    INSERT = "insert"
    TRACKING = "tracking"


class KeptKind(StrEnum):
    """Why a text of the script is in no heading and no shot."""

    TITLE_PAGE = "title_page"  # one per entry, key included: "Author: A. Writer"
    TRANSITION = "transition"  # "CUT TO:"
    SECTION = "section"  # "# Act One"; the acts and outline levels of Final Draft
    SYNOPSIS = "synopsis"  # "= What happens"; the scene summaries of Final Draft
    NOTE = "note"  # "[[ ... ]]"; the script notes and alternates of Final Draft
    BONEYARD = "boneyard"  # "/* ... */"
    PAGE_FURNITURE = "page_furniture"  # headers and footers of Final Draft


@dataclass(frozen=True, kw_only=True)
class KeptText:
    """A text that makes no shot and is not lost. `start` and `end` include its marks, `text` does not."""

    kind: KeptKind
    text: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class ParsedShot:
    """One shot: an action paragraph, a dialogue with its character, a numbered item, or a paragraph of prose.

    White space is collapsed, emphasis marks are gone. Fields that do not apply are "".
    """

    start: int  # offset into the source of the first character
    end: int  # offset behind the last one
    shot_type: ShotType
    action: str  # of a dialogue: its parentheticals
    dialogue: str = ""  # the spoken words only
    character: str = ""  # the cue with its extensions, "MARY (V.O.)"; `cue.cue_name` strips them
    dual: bool = False  # spoken together with the dialogue before it
    label: str = ""  # the item's number as written, "Shot #3"


@dataclass(frozen=True, kw_only=True)
class ParsedScene:
    """A scene: its heading and what stands below it, up to the next heading."""

    start: int
    end: int
    content: str  # the scene's source; of a Final Draft document, the same as plain text
    heading: str = ""  # "" for the text before the first heading, and in the modes that have no headings
    heading_start: int = 0
    heading_end: int = 0
    number: str = ""  # the scene number as written, "12A"
    shots: tuple[ParsedShot, ...] = ()
    kept: tuple[KeptText, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ParsedScript:
    """The whole script."""

    mode: ScriptMode  # the one used
    reason: str  # why, for people
    final_draft: bool  # the source is XML
    scenes: tuple[ParsedScene, ...]
    kept: tuple[KeptText, ...] = ()  # the title page, and what stands before the first scene
