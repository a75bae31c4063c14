"""Laws of the script parser: no word is lost, the same script gives the same shots, time is linear."""

from __future__ import annotations

import string
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milimo_runtime.errors import InvalidArgument
from milimo_storyboard.parsed_script import KeptText, ParsedScript, ScriptMode
from milimo_storyboard.script import parse_script

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAGMENTS = [
    *("\n", "\n\n", "\r\n", "\r", "\u2028", "\n  \n", "\n \n", " ", "  ", "\t", "\f", "\u00a0"),
    *("INT. HOUSE - DAY", "EXT. RUE É #12A#", ".FORCED", "i/e car", "INT."),
    *("ANNA", "O'BRIEN (V.O.)", "@McAvoy", "BOB ^", "(softly)", "(a) b (c)", "Élodie", "安娜", "MARY:"),
    *("CUT TO:", "> Fade", "> centred <", "FADE IN:", "# Act One", "= what", "===", "~la la", "!Forced"),
    *(
        "[[",
        "]]",
        "[[note]]",
        "/*",
        "*/",
        "/* bone */",
        "*",
        "**",
        "***",
        "_",
        "\\*",
        "#",
        ">",
        "<",
        "!",
        ".",
        "@",
        "~",
    ),
    *("Title: T", "Author:", "    indented", "1. one", "Shot #2: two", "10:30 the clock", "3)", "her hand", "x"),
    *("\ufeff", "e\u0301", "🎬", "“quoted”", "…", "…und", "\x01"),
]
SOUP = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(alphabet=st.characters(exclude_characters="\0"), max_size=4)),
    max_size=40,
)
# Lines in the order in which people write them, so that constructs that need several lines come up.
LINES = st.lists(
    st.tuples(
        st.sampled_from([fragment for fragment in FRAGMENTS if fragment.strip()]),
        st.sampled_from(["\n", "\n", "\n", "\n\n", "\n\n", "\r\n", " [[note]]\n", " /* bone\n\n*/ ", "\n  \n"]),
    ).map("".join),
    max_size=20,
)
BLOCKS = st.lists(
    st.sampled_from(
        [
            "INT. A #1#\n\n",
            "She *goes* [[no]].\n\n",
            "ANNA (V.O.)\n(softly)\nHi\n[[x]]\n(low) there.\n\n",
            "TOM ^\n~la\n  \n",
            "1. her hand\n2) two\n",
            "(x)\n",
            "what he says\n",
            "CUT TO:\n",
        ]
    ),
    max_size=10,
)
SCRIPTS = st.one_of(SOUP, LINES, BLOCKS).map("".join)
MODES = st.sampled_from(ScriptMode)


def carries_words(character: str) -> bool:
    return not character.isspace() and character not in string.punctuation


def words_of(*texts: str) -> list[str]:
    return [character for text in texts for character in text if carries_words(character)]


def leaves(script: ParsedScript) -> Iterator[tuple[int, int, list[str], bool]]:
    """Start, end, the characters of the fields, and whether their order counts."""
    for kept in all_kept(script):
        yield kept.start, kept.end, words_of(kept.text), True
    for scene in script.scenes:
        if scene.heading_end > scene.heading_start:
            yield scene.heading_start, scene.heading_end, words_of(scene.heading, scene.number), True
        for shot in scene.shots:
            fields = words_of(shot.label, shot.character, shot.action, shot.dialogue)
            yield shot.start, shot.end, fields, not shot.dialogue


def all_kept(script: ParsedScript) -> list[KeptText]:
    return [*script.kept, *(kept for scene in script.scenes for kept in scene.kept)]


def check_no_word_is_lost(text: str, script: ParsedScript) -> None:
    owners = [0] * len(text)
    kept = all_kept(script)
    for start, end, fields, ordered in leaves(script):
        assert 0 <= start < end <= len(text)
        own = set(range(start, end))
        for inner in kept:
            if start <= inner.start and inner.end <= end and (inner.start, inner.end) != (start, end):
                own -= set(range(inner.start, inner.end))
        places = [place for place in sorted(own) if carries_words(text[place]) and (place or text[0] != "\ufeff")]
        source = [text[place] for place in places]
        assert fields == source if ordered else Counter(fields) == Counter(source)
        for place in places:
            owners[place] += 1
    wanted = [1 if carries_words(character) else 0 for character in text]
    if text[0] == "\ufeff":
        wanted[0] = 0
    assert owners == wanted


def check_order(text: str, script: ParsedScript) -> None:
    position = 0
    for index, scene in enumerate(script.scenes):
        assert position <= scene.start <= scene.heading_start <= scene.heading_end <= scene.end <= len(text)
        assert index == 0 or scene.start == position
        assert scene.content == text[scene.start : scene.end]
        position = scene.heading_end
        for shot in scene.shots:
            assert position <= shot.start < shot.end <= scene.end
            position = shot.end
        assert all(scene.start <= kept.start < kept.end <= scene.end for kept in scene.kept)
        position = scene.end
    assert not script.scenes or position == len(text)


@settings(max_examples=500)
@given(text=SCRIPTS, mode=MODES)
def test_no_word_is_lost(text: str, mode: ScriptMode) -> None:
    try:
        script = parse_script(text, mode)
    except InvalidArgument:
        assert not text.removeprefix("\ufeff").strip()
        return
    assert script.mode is not ScriptMode.AUTO
    check_no_word_is_lost(text, script)
    check_order(text, script)


@given(
    paragraphs=st.lists(
        st.lists(
            st.sampled_from(["Anna", "ANNA", "runs", "(low)", "INT.", "hand", "1.", "Zoë", "走る", "10:30"]), min_size=1
        ),
        min_size=1,
    ),
    separator=st.sampled_from(["\n", "\n\n", "\r\n\r\n", " "]),
    mode=MODES,
)
def test_every_word_is_found_as_a_whole(paragraphs: list[list[str]], separator: str, mode: ScriptMode) -> None:
    text = separator.join(" ".join(words) for words in paragraphs)
    script = parse_script(text, mode)
    found: set[str] = set()
    for scene in script.scenes:
        found.update(scene.heading.split(), [scene.number])
        for shot in scene.shots:
            for part in (shot.label, shot.character, shot.action, shot.dialogue):
                found.update(word.strip("().:") for word in part.split())
    found.update(word for kept in all_kept(script) for word in kept.text.split())
    assert {word.strip("().:") for word in text.split()} <= {word.strip("().:") for word in found}


@given(scripts=st.lists(st.tuples(SCRIPTS.filter(lambda text: bool(text.strip("\ufeff \n\r\t"))), MODES), max_size=4))
def test_the_same_script_always_gives_the_same_shots(scripts: list[tuple[str, ScriptMode]]) -> None:
    probe = "INT. A\n\nANN\nHi.\n\nTOM\nHo.\n\nANN\nHi.\n"
    before = parse_script(probe, ScriptMode.AUTO)
    results: list[ParsedScript | None] = []
    for text, mode in scripts:
        try:
            results.append(parse_script(text, mode))
        except InvalidArgument:
            results.append(None)
        assert parse_script(probe, ScriptMode.AUTO) == before
    for (text, mode), result in zip(reversed(scripts), reversed(results), strict=True):
        if result is not None:
            assert parse_script(text, mode) == result


@given(text=SCRIPTS)
def test_a_scene_reads_the_same_on_its_own(text: str) -> None:
    """A scene depends on nothing outside it, so a long script may be cut at its scenes."""
    try:
        script = parse_script(text, ScriptMode.SCREENPLAY)
    except InvalidArgument:
        return
    for scene in script.scenes:
        # A heading in capitals may follow a line directly; below a title's key it would be read as one.
        if scene.heading:
            alone = parse_script(scene.content, ScriptMode.SCREENPLAY).scenes
            assert [shot.action for shot in alone[0].shots] == [shot.action for shot in scene.shots]
            assert [shot.shot_type for shot in alone[0].shots] == [shot.shot_type for shot in scene.shots]


HOSTILE = {
    "screenplay": "INT. HOUSE - DAY\n\nAnna walks to the door.\n\nANNA\n(softly)\nHello there.\n\n",
    "open notes": "[[ a ",
    "open boneyards": "/* a ",
    "mixed marks": "[[/*",
    "closed notes": "[[a]]\n",
    "open emphasis": "*a _b **c ",
    "escapes": "\\*",
    "carriage returns": "\r",
    "two spaces": "  \n",
    "one long line": "word ",
    "one long cue": "()",
    "open parentheses": "(",
    "spaces": " ",
    "digits": "1",
    "hashes": "#",
    "cues above hidden lines": "ABC\n[[x]]\n",
    "cues above blank lines": "ABC\n\n",
    "hidden lines": "\n/*x*/",
    "half of a phrase": "close ",
    "title keys": "title: a\n",
    "headings": "INT. A\n",
    "numbers": "1. \n",
    "brackets": "<a",
}


@pytest.mark.parametrize("mode", [ScriptMode.AUTO, ScriptMode.SCREENPLAY])
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_the_length_not_faster(unit: str, mode: ScriptMode) -> None:
    def seconds(length: int) -> float:
        text = "INT. A\n\nA" + unit * (length // len(unit)) + "\nb"
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            parse_script(text, mode)
            best = min(best, time.process_time() - started)
        return best

    # 32 times the text: a linear parser takes about 32 times as long, a quadratic one 1024 times.
    short, long = seconds(5_000), seconds(160_000)
    assert long <= 200 * short + 0.02
