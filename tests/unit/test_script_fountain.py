"""The syntax of Fountain, case by case: what each construct becomes."""

from __future__ import annotations

import pytest
from milimo_storyboard.cue import cue_name
from milimo_storyboard.emphasis import strip_emphasis
from milimo_storyboard.fountain import split_scene_number
from milimo_storyboard.parsed_script import KeptKind, ParsedScene, ParsedScript, ParsedShot, ScriptMode
from milimo_storyboard.script import parse_script

HEADING = "INT. HOUSE - DAY\n\n"


def screenplay(text: str) -> ParsedScript:
    return parse_script(text, ScriptMode.SCREENPLAY)


def only_scene(text: str) -> ParsedScene:
    (scene,) = screenplay(HEADING + text).scenes
    return scene


def told(shot: ParsedShot) -> tuple[str, str, str]:
    return shot.character, shot.dialogue, shot.action


def kept_texts(text: str) -> list[tuple[KeptKind, str]]:
    return [(kept.kind, kept.text) for kept in only_scene(text).kept]


@pytest.mark.parametrize(
    ("line", "heading", "number"),
    [
        ("INT. HOUSE - DAY", "INT. HOUSE - DAY", ""),
        ("INT HOUSE - DAY", "INT HOUSE - DAY", ""),
        ("ext. street", "ext. street", ""),
        ("EST. CITY - DAWN", "EST. CITY - DAWN", ""),
        ("INT./EXT. CAR", "INT./EXT. CAR", ""),
        ("INT/EXT CAR", "INT/EXT CAR", ""),
        ("INT./EXT CAR", "INT./EXT CAR", ""),
        ("I/E CAR", "I/E CAR", ""),
        ("I/E. CAR", "I/E. CAR", ""),
        ("  INT. INDENTED", "INT. INDENTED", ""),
        (".SNIPER SCOPE POV", "SNIPER SCOPE POV", ""),
        (".binocular view", "binocular view", ""),
        ("INT. HOUSE - DAY #1#", "INT. HOUSE - DAY", "1"),
        ("INT. HOUSE - DAY #110A.1-b#", "INT. HOUSE - DAY", "110A.1-b"),
        (".ROOM #3 #4#", "ROOM #3", "4"),
        ("INT. *HOUSE* [[which?]] - DAY", "INT. HOUSE - DAY", ""),
        ("ВНУТР. ДОМ", None, ""),
        ("INTERIOR HOUSE", None, ""),
        ("INTERNATIONAL WATERS", None, ""),
        ("INT", None, ""),
        ("ESTABLISHING SHOT", None, ""),
        ("...and then", None, ""),
        (".. no", None, ""),
        (". no", None, ""),
    ],
)
def test_headings(line: str, heading: str | None, number: str) -> None:
    scene = screenplay(f"Before.\n\n{line}\n\nAfter.\n").scenes[-1]
    if heading is None:
        assert scene.heading == ""
        assert len(scene.shots) == 3
    else:
        assert (scene.heading, scene.number) == (heading, number)
        assert [shot.action for shot in scene.shots] == ["After."]


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("INT. A\nHe enters.\n", ["INT. A"]),
        ("INT. A\nHe enters.\nEXT. B\nHe leaves.\n", ["INT. A", "EXT. B"]),
        ("INT. A\n\nANN\nHi.\nEXT. B\n\nHe leaves.\n", ["INT. A", "EXT. B"]),
        ("INT. A\n\nHe enters the\next. part of it.\n", ["INT. A"]),
        ("INT. A\n\nHe draws a\n.45 pistol.\n", ["INT. A"]),
        ("INT. A\n\n[[new]]\nEXT. B\n", ["INT. A", "EXT. B"]),
        ("INT. A\n\nCUT TO:\nEXT. B\n", ["INT. A", "EXT. B"]),
        ("INT. A\n/*\n\nEXT. B\n\n*/\nHe enters.\n", ["INT. A"]),
    ],
)
def test_where_headings_may_stand(text: str, headings: list[str]) -> None:
    assert [scene.heading for scene in screenplay(text).scenes] == headings


@pytest.mark.parametrize(
    ("cue", "character"),
    [
        ("MARY", "MARY"),
        ("MARY (V.O.)", "MARY (V.O.)"),
        ("MARY (O.S.) (CONT'D)", "MARY (O.S.) (CONT'D)"),
        ("HANS (on the radio)", "HANS (on the radio)"),
        ("O'BRIEN", "O'BRIEN"),
        ("O’BRIEN", "O’BRIEN"),
        ("ÉLODIE", "ÉLODIE"),
        ("ИВАН", "ИВАН"),
        ("R2D2", "R2D2"),
        ("MAN #2", "MAN #2"),
        ("DR. SMITH-JONES", "DR. SMITH-JONES"),
        ("\tMARY", "MARY"),
        ("*MARY*", "MARY"),
        ("MARY:", "MARY"),
        ("@McAVOY", "McAVOY"),
        ("@安娜", "安娜"),
        ("MARY [[check]]", "MARY"),
    ],
)
def test_cues(cue: str, character: str) -> None:
    assert [told(shot) for shot in only_scene(f"{cue}\nHello.\n").shots] == [(character, "Hello.", "")]


@pytest.mark.parametrize("line", ["Mary", "23", "McAVOY", "(LAUGHTER)", "安娜", "...", "@ !"])
def test_lines_that_are_no_cue(line: str) -> None:
    (shot,) = only_scene(f"{line}\nHello.\n").shots
    assert told(shot) == ("", "", f"{line} Hello.")


@pytest.mark.parametrize("line", ["THE END", "BANG", "@Anna walks in.", "MARY (V.O.)"])
def test_a_cue_needs_a_line_below_it(line: str) -> None:
    shots = only_scene(f"{line}\n\nHello.\n").shots
    assert [told(shot) for shot in shots] == [("", "", line), ("", "", "Hello.")]


def test_a_cue_directly_above_a_heading_or_a_forced_action_is_an_action() -> None:
    assert [told(shot) for shot in only_scene("MARY\n!waves.\n").shots] == [("", "", "MARY waves.")]
    first, second = screenplay(HEADING + "MARY\nEXT. STREET\n").scenes
    assert [told(shot) for shot in first.shots] == [("", "", "MARY")]
    assert second.heading == "EXT. STREET"


@pytest.mark.parametrize(
    ("cue", "name"),
    [
        ("O'BRIEN (V.O.)", "O'BRIEN"),
        ("MARY (O.S.) (CONT'D) ^", "MARY"),
        ("Detective Vance", "Detective Vance"),
        (" MARY : ", "MARY"),
        ("(V.O.)", "(V.O.)"),
        ("A) B", "A) B"),
        ("B)", "B)"),
        ("", ""),
    ],
)
def test_cue_name(cue: str, name: str) -> None:
    assert cue_name(cue) == name


def test_a_blank_line_ends_a_dialogue() -> None:
    shots = only_scene("MARY\nHello.\nHow are you?\n\nShe turns away.\n\nThe door closes.\n\nTOM\nBye.\n").shots
    assert [told(shot) for shot in shots] == [
        ("MARY", "Hello. How are you?", ""),
        ("", "", "She turns away."),
        ("", "", "The door closes."),
        ("TOM", "Bye.", ""),
    ]


@pytest.mark.parametrize("blank", ["", " ", "   ", "\t", "\f"])
def test_white_space_is_a_blank_line_but_two_spaces_keep_a_dialogue_open(blank: str) -> None:
    assert len(only_scene(f"MARY\nOne.\n{blank}\nTwo.\n").shots) == 2
    (shot,) = only_scene("MARY\nOne.\n  \nTwo.\n").shots
    assert told(shot) == ("MARY", "One. Two.", "")
    assert len(only_scene("MARY\nOne.\n  \n  \nTwo.\n").shots) == 2


def test_parentheticals_are_directions_not_speech() -> None:
    (shot,) = only_scene("MARY\n(softly)\nHello.\n(louder)\nHello! (waves) You!\n").shots
    assert told(shot) == ("MARY", "Hello. Hello! (waves) You!", "softly louder")
    (silent,) = only_scene("MARY\n(sighs)\n").shots
    assert told(silent) == ("MARY", "", "sighs")


def test_dual_dialogue_is_two_shots() -> None:
    first, second = only_scene("BRICK\nScrew retirement.\n\nSTEEL ^\nScrew retirement.\n").shots
    assert (first.character, first.dual) == ("BRICK", False)
    assert (second.character, second.dual) == ("STEEL", True)


def test_a_hidden_line_neither_ends_nor_opens_anything() -> None:
    (shot,) = only_scene("MARY\n[[sad]]\nHello.\n/* cut\n\ncut */\nBye.\n").shots
    assert told(shot) == ("MARY", "Hello. Bye.", "")


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("One\nline.\n\nTwo.\n", ["One line.", "Two."]),
        ("!SCREAM\nhe did.\n", ["SCREAM he did."]),
        ("> THE END <\n", ["THE END"]),
        ("~Row, row, row\n~your boat\n", ["Row, row, row your boat"]),
        ("He says **now** and _then_.\n", ["He says now and then."]),
        ("A\t\tB\u00a0C\n", ["A B C"]),
        ("One.\n===\nTwo.\n", ["One.", "Two."]),
        ("One.\n# Act\nTwo.\n", ["One.", "Two."]),
        ("~\nOne\n!\nline.\n", ["One line."]),
        ("><\n", []),
    ],
)
def test_actions(text: str, actions: list[str]) -> None:
    assert [told(shot) for shot in only_scene(text).shots] == [("", "", action) for action in actions]


def test_lyrics_forced_actions_and_forced_transitions_in_a_dialogue() -> None:
    scene = only_scene("MARY\n~Row your boat\n!She stops.\n\nTOM\nBye.\n> CUT TO:\n\nDark.\n")
    assert [told(shot) for shot in scene.shots] == [
        ("MARY", "Row your boat", ""),
        ("", "", "She stops."),
        ("TOM", "Bye.", ""),
        ("", "", "Dark."),
    ]
    assert [kept.text for kept in scene.kept] == ["CUT TO:"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CUT TO:\n", [(KeptKind.TRANSITION, "CUT TO:")]),
        ("SMASH CUT TO:\n", [(KeptKind.TRANSITION, "SMASH CUT TO:")]),
        ("FADE OUT.\n", [(KeptKind.TRANSITION, "FADE OUT.")]),
        ("> Burn to white\n", [(KeptKind.TRANSITION, "Burn to white")]),
        ("# Act One\n", [(KeptKind.SECTION, "Act One")]),
        ("### Beat\n", [(KeptKind.SECTION, "Beat")]),
        ("= They meet.\n", [(KeptKind.SYNOPSIS, "They meet.")]),
        ("====\n", []),
        ("#\n", []),
        ("[[one\ntwo]]\n", [(KeptKind.NOTE, "one\ntwo")]),
        ("[[one\n  \ntwo]]\n", [(KeptKind.NOTE, "one\n  \ntwo")]),
        ("/* one\n\ntwo */\n", [(KeptKind.BONEYARD, "one\n\ntwo")]),
        ("/* [[one]] */\n", [(KeptKind.BONEYARD, "[[one]]")]),
        ("[[one /* two]]\n", [(KeptKind.NOTE, "one /* two")]),
        ("/*/ one */\n", [(KeptKind.BONEYARD, "/ one")]),
    ],
)
def test_what_is_kept_beside_the_shots(text: str, kept: list[tuple[KeptKind, str]]) -> None:
    assert kept_texts(text) == kept
    assert only_scene(text).shots == ()


@pytest.mark.parametrize(
    "text", ["He reads [[this.\n", "He reads [[this.\n\nor]] that.\n", "He types /* here.\n", "He */ does ]] so.\n"]
)
def test_marks_without_a_partner_are_text(text: str) -> None:
    scene = only_scene(text)
    assert scene.kept == ()
    assert " ".join(shot.action for shot in scene.shots) == " ".join(text.split())


def test_a_note_within_an_action_is_taken_out_of_it() -> None:
    scene = only_scene("Anna [[too slow?]] walks un[[!]]seen.\n")
    assert [shot.action for shot in scene.shots] == ["Anna walks unseen."]
    assert [kept.text for kept in scene.kept] == ["too slow?", "!"]


def test_title_page() -> None:
    text = "Title:\n    _**BRICK**_\n    Part 2\nAuthor: A. Writer\nCustom key: 12\n\nFADE IN:\n\nINT. A\n\nGo.\n"
    script = screenplay(text)
    assert [(kept.kind, kept.text) for kept in script.kept] == [
        (KeptKind.TITLE_PAGE, "Title:\n_**BRICK**_\nPart 2"),
        (KeptKind.TITLE_PAGE, "Author: A. Writer"),
        (KeptKind.TITLE_PAGE, "Custom key: 12"),
        (KeptKind.TRANSITION, "FADE IN:"),
    ]
    assert [scene.heading for scene in script.scenes] == ["INT. A"]


@pytest.mark.parametrize(
    "text", ["Title: A\nINT. HOUSE: DAY\n\nGo.\n", "\ufeffTitle: A\n[[x]]\n\n\nINT. HOUSE: DAY\nGo.\n"]
)
def test_a_title_page_ends_before_a_heading(text: str) -> None:
    (scene,) = screenplay(text).scenes
    assert scene.heading == "INT. HOUSE: DAY"
    assert screenplay(text).kept[0].text == "Title: A"


def test_a_speaker_on_the_first_line_is_no_title_page() -> None:
    script = screenplay("Narrator: Once upon a time.\n\nINT. A\n\nGo.\n")
    assert script.kept == ()
    assert [shot.action for shot in script.scenes[0].shots] == ["Narrator: Once upon a time."]


def test_text_before_the_first_heading_is_a_scene_of_its_own() -> None:
    text = "Title: T\n\n# Act One\n\nBlack. A voice.\n\nINT. A\n\nGo.\n"
    script = screenplay(text)
    first, second = script.scenes
    assert (first.heading, [shot.action for shot in first.shots]) == ("", ["Black. A voice."])
    assert first.content == "# Act One\n\nBlack. A voice.\n\n"
    assert [kept.text for kept in first.kept] == ["Act One"]
    assert (second.heading, second.content) == ("INT. A", "INT. A\n\nGo.\n")


def test_a_screenplay_without_headings_is_one_scene() -> None:
    (scene,) = screenplay("MARY\nHello.\n").scenes
    assert (scene.heading, scene.start, scene.end) == ("", 0, 12)
    assert screenplay("[[only a note]]").scenes == ()
    assert [kept.text for kept in screenplay("[[only a note]]").kept] == ["only a note"]


def test_a_heading_may_have_no_shots() -> None:
    assert [(scene.heading, scene.shots) for scene in screenplay("INT. A\n\nINT. B\n").scenes] == [
        ("INT. A", ()),
        ("INT. B", ()),
    ]


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("*a*", "a"),
        ("**a**", "a"),
        ("***a***", "a"),
        ("_a_", "a"),
        ("_*a* b_", "a b"),
        ("***a** b*", "a b"),
        ("***a* b**", "a b"),
        ("**a *b***", "a b"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("5*", "5*"),
        ("*a", "*a"),
        ("file_name_1", "file_name_1"),
        (r"\*a\*", "*a*"),
        (r"\_a_", "_a_"),
        ("****a****", "****a****"),
        ("un*believ*able", "unbelievable"),
        ("none", "none"),
    ],
)
def test_emphasis(line: str, plain: str) -> None:
    assert strip_emphasis(line) == plain


@pytest.mark.parametrize(
    ("heading", "parts"),
    [
        ("A #1#", ("A", "1")),
        ("A #1 2#", ("A #1 2#", "")),
        ("#1#", ("#1#", "")),
        ("A ##", ("A ##", "")),
        ("A#", ("A#", "")),
    ],
)
def test_scene_numbers(heading: str, parts: tuple[str, str]) -> None:
    assert split_scene_number(heading) == parts
