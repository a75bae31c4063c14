"""Modes of the script parser: how one is chosen, numbered lists, prose, and the types of shots."""

from __future__ import annotations

import pytest
from milimo_runtime.errors import InvalidArgument
from milimo_storyboard.parsed_script import ParsedScript, ScriptMode, ShotType
from milimo_storyboard.script import parse_script
from milimo_storyboard.shot_types import shot_type_of

AUTO, SCREENPLAY, NUMBERED, FREEFORM = ScriptMode


def actions(script: ParsedScript) -> list[str]:
    return [shot.action for scene in script.scenes for shot in scene.shots]


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("INT. HOUSE\n\nGo.", SCREENPLAY, 'there is a scene heading: "INT. HOUSE"'),
        ("1. One\n2. Two\n\nINT. HOUSE\n", SCREENPLAY, 'there is a scene heading: "INT. HOUSE"'),
        ("1. One\n2. Two", NUMBERED, "there is no scene heading, and 2 of 2 lines are numbered"),
        ("1. One\nmore\n\n2. Two\nmore", NUMBERED, "there is no scene heading, and 2 of 4 lines are numbered"),
        ("1. One\nmore\nmore\n2. Two\nmore", FREEFORM, "there is no scene heading, and 2 of 5 lines are numbered"),
        ("1. One", FREEFORM, "there is no scene heading, and 1 of 1 lines are numbered"),
        ("A man walks.", FREEFORM, "there is no scene heading, and 0 of 1 lines are numbered"),
        ("He says\nint. house is a heading.", FREEFORM, "there is no scene heading, and 0 of 2 lines are numbered"),
        ("/*\n\nINT. HOUSE\n\n*/ Go.", FREEFORM, "there is no scene heading, and 0 of 3 lines are numbered"),
    ],
)
def test_auto(text: str, mode: ScriptMode, reason: str) -> None:
    script = parse_script(text, AUTO)
    assert (script.mode, script.reason) == (mode, reason)


@pytest.mark.parametrize("mode", [SCREENPLAY, NUMBERED, FREEFORM])
def test_a_mode_is_taken_at_its_word(mode: ScriptMode) -> None:
    for text in ("INT. HOUSE\n\nGo.", "1. One\n2. Two", "Prose."):
        script = parse_script(text, mode)
        assert (script.mode, script.reason) == (mode, f"mode {mode.value} was asked for")


@pytest.mark.parametrize("mode", list(ScriptMode))
@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t\u00a0", "\ufeff", "\ufeff\n"])
def test_a_blank_script_is_refused(text: str, mode: ScriptMode) -> None:
    with pytest.raises(InvalidArgument, match="script: the script is empty") as caught:
        parse_script(text, mode)
    assert [violation.field for violation in caught.value.violations] == ["script"]


@pytest.mark.parametrize("mode", list(ScriptMode))
def test_a_nul_is_refused(mode: ScriptMode) -> None:
    with pytest.raises(InvalidArgument, match="NUL character at offset 3"):
        parse_script("abc\0def", mode)


@pytest.mark.parametrize(
    ("line", "label", "action"),
    [
        ("1. A man.", "1", "A man."),
        ("2) A man.", "2", "A man."),
        ("3: A man.", "3", "A man."),
        ("4- A man.", "4", "A man."),
        ("#5. A man.", "#5", "A man."),
        ("Shot 6: A man.", "Shot 6", "A man."),
        ("SHOT #7 - no", None, "SHOT #7 - no"),
        ("shot #8- A man.", "shot #8", "A man."),
        ("Shot9. A man.", "Shot9", "A man."),
        ("  10.\tA man.", "10", "A man."),
        ("11.", "11", ""),
        ("٣. رجل", "٣", "رجل"),
        ("10:30 the clock strikes", None, "10:30 the clock strikes"),
        ("3.5 metres", None, "3.5 metres"),
        ("12 angry men", None, "12 angry men"),
        ("Shots 3. A", None, "Shots 3. A"),
        ("A. 3. A", None, "A. 3. A"),
    ],
)
def test_numbered_lines(line: str, label: str | None, action: str) -> None:
    shots = parse_script(f"1. First\n{line}\n", NUMBERED).scenes[0].shots
    if label is None:
        assert [(shot.label, shot.action) for shot in shots] == [("1", f"First {action}")]
    else:
        assert [(shot.label, shot.action) for shot in shots] == [("1", "First"), (label, action)]


def test_unnumbered_lines_continue_the_item() -> None:
    script = parse_script("My film\n\n1. One\n   goes on\n\nand on\n2. Two\n", NUMBERED)
    assert [(shot.label, shot.action) for shot in script.scenes[0].shots] == [
        ("", "My film"),
        ("1", "One goes on and on"),
        ("2", "Two"),
    ]


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("One.", ["medium"]),
        ("One.\n\nTwo.", ["medium", "medium"]),
        ("Her hands.\n\nTwo.\n\nThe skyline.", ["establishing", "medium", "establishing"]),
        ("One\ncontinues.\n \n\nTwo.\n\n\nHis eyes.", ["establishing", "medium", "close_up"]),
    ],
)
def test_freeform(text: str, types: list[str]) -> None:
    shots = parse_script(text, FREEFORM).scenes[0].shots
    assert [shot.shot_type.value for shot in shots] == types
    assert " ".join(shot.action for shot in shots) == " ".join(text.split())


def test_prose_and_lists_have_no_markup() -> None:
    for mode in (NUMBERED, FREEFORM):
        assert actions(parse_script("> A *b* [[c]] /* d */ #e", mode)) == ["> A *b* [[c]] /* d */ #e"]


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("An establishing view", ShotType.ESTABLISHING),
        ("The SKYLINE burns", ShotType.ESTABLISHING),
        ("landscape", ShotType.ESTABLISHING),
        ("Aerial: woods", ShotType.ESTABLISHING),
        ("the exterior", ShotType.ESTABLISHING),
        ("close up of him", ShotType.CLOSE_UP),
        ("Closeup.", ShotType.CLOSE_UP),
        ("CLOSE-UP", ShotType.CLOSE_UP),
        ("close  up", ShotType.CLOSE_UP),
        ("a detail", ShotType.CLOSE_UP),
        ("her eye", ShotType.CLOSE_UP),
        ("his eyes", ShotType.CLOSE_UP),
        ("his _hand_", ShotType.CLOSE_UP),
        ("hands.", ShotType.CLOSE_UP),
        ("Wide shot", ShotType.WIDE),
        ("wide-angle", ShotType.WIDE),
        ("panorama", ShotType.WIDE),
        ("a vista", ShotType.WIDE),
        ("INSERT: a note", ShotType.INSERT),
        ("cutaway", ShotType.INSERT),
        ("a prop", ShotType.INSERT),
        ("tracking her", ShotType.TRACKING),
        ("we follow", ShotType.TRACKING),
        ("he follows", ShotType.TRACKING),
        ("chase", ShotType.TRACKING),
        ("she chases", ShotType.TRACKING),
        ("running", ShotType.TRACKING),
        ("walking", ShotType.TRACKING),
        # the first group that hits, not the first word
        ("walking hand in hand", ShotType.CLOSE_UP),
        ("a hand against the skyline", ShotType.ESTABLISHING),
        ("insert of a vista", ShotType.WIDE),
        ("handhand hand", ShotType.CLOSE_UP),
        # whole words only
        ("a chandelier", ShotType.MEDIUM),
        ("a handsome man", ShotType.MEDIUM),
        ("eyed", ShotType.MEDIUM),
        ("property", ShotType.MEDIUM),
        ("following", ShotType.MEDIUM),
        ("sleepwalking", ShotType.MEDIUM),
        ("close, up the hill", ShotType.MEDIUM),
        ("wide", ShotType.MEDIUM),
        ("éeye", ShotType.MEDIUM),
        ("detailé", ShotType.MEDIUM),
        ("", ShotType.MEDIUM),
    ],
)
def test_shot_types(action: str, kind: ShotType) -> None:
    assert shot_type_of(action) is kind


def test_dialogues_alternate_by_their_position_in_the_scene() -> None:
    scene = "\n\nANN\nA hand.\n\nHer hand.\n\nTOM\nB.\n\nANN\nC.\n\n"
    script = parse_script(f"INT. A{scene}INT. B{scene}", SCREENPLAY)
    for parsed in script.scenes:
        assert [shot.shot_type.value for shot in parsed.shots] == ["close_up", "close_up", "medium", "close_up"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85"])
def test_line_ends_and_a_byte_order_mark_change_places_only(end: str) -> None:
    text = "INT. A\n\nANN\n(low)\nHi.\n\nShe\ngoes [[where\nto]] out.\n"
    plain = parse_script(text, SCREENPLAY).scenes[0]
    other = parse_script("\ufeff" + text.replace("\n", end), SCREENPLAY).scenes[0]
    assert (other.heading, other.heading_start) == (plain.heading, 1)
    for one, two in zip(plain.shots, other.shots, strict=True):
        assert (one.action, one.dialogue, one.character) == (two.action, two.dialogue, two.character)


def test_places() -> None:
    text = "Title: T\n\nINT. A #1#\n\n  ANN\nHi.\n\n\tShe *goes*. [[n]]\n"
    (scene,) = parse_script(text, AUTO).scenes
    assert text[scene.start : scene.end] == scene.content == text[10:]
    assert text[scene.heading_start : scene.heading_end] == "INT. A #1#"
    assert [text[shot.start : shot.end] for shot in scene.shots] == ["ANN\nHi.", "She *goes*."]
    assert [text[kept.start : kept.end] for kept in scene.kept] == ["[[n]]"]
