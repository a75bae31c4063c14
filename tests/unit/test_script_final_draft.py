"""Final Draft documents: paragraphs become elements, the rest is kept, unsafe XML is refused."""

from __future__ import annotations

import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.errors import InvalidArgument
from milimo_storyboard.parsed_script import KeptKind, ParsedScript, ScriptMode
from milimo_storyboard.script import parse_script

DOCUMENT = """<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<FinalDraft DocumentType="Script" Template="No" Version="5">
  <Content>
    <Paragraph Type="Action"><Text>Black.</Text></Paragraph>
    <Paragraph Number="1A" Type="Scene Heading">
      <SceneProperties Length="1/8" Page="1">
        <Summary><Paragraph><Text>They meet.</Text></Paragraph></Summary>
      </SceneProperties>
      <Text>INT. CAFÉ 🎬 - DAY</Text>
    </Paragraph>
    <Paragraph Type="Action">
      <Text Style="Bold">Un</Text>
      <Text>believable hands</Text>
      <ScriptNote><Paragraph><Text>check</Text></Paragraph></ScriptNote>
    </Paragraph>
    <Paragraph Type="Character"><Text>ANNA (V.O.)</Text></Paragraph>
    <Paragraph Type="Parenthetical"><Text>(softly)</Text></Paragraph>
    <Paragraph Type="Dialogue"><Text>Tom &amp; I &lt;3</Text></Paragraph>
    <Paragraph Type="Dialogue"><Text>it.</Text></Paragraph>
    <Paragraph><DualDialogue>
      <Paragraph Type="Character"><Text>TOM</Text></Paragraph>
      <Paragraph Type="Dialogue"><Text>No.</Text></Paragraph>
      <Paragraph Type="Character"><Text>ANNA</Text></Paragraph>
      <Paragraph Type="Dialogue"><Text>Yes.</Text></Paragraph>
    </DualDialogue></Paragraph>
    <Paragraph Type="Action"><Text></Text></Paragraph>
    <Paragraph Type="Transition"><Text>CUT TO:</Text></Paragraph>
    <Paragraph Type="Dialogue"><Text>Who spoke?</Text></Paragraph>
    <Paragraph Type="Scene Heading"><Text>EXT. STREET</Text></Paragraph>
    <Paragraph Type="New Act"><Text>Act Two</Text></Paragraph>
    <Paragraph Type="Shot"><Text>AERIAL ON THE CITY</Text></Paragraph>
  </Content>
  <HeaderAndFooter>
    <Header><Paragraph><Text>Draft 2</Text><DynamicLabel Type="Page #"/></Paragraph></Header>
  </HeaderAndFooter>
  <SmartType><Characters><Character>ANNA</Character></Characters></SmartType>
  <TitlePage><Content><Paragraph Type="Action"><Text>My Film</Text></Paragraph></Content></TitlePage>
</FinalDraft>
"""


def document(body: str) -> str:
    return f"<FinalDraft><Content>{body}</Content></FinalDraft>"


def test_a_document() -> None:
    script = parse_script(DOCUMENT, ScriptMode.AUTO)
    assert (script.mode, script.reason) == (ScriptMode.SCREENPLAY, "it is a Final Draft document")
    assert script.final_draft
    told = [
        (scene.heading, scene.number, [(shot.character, shot.dialogue, shot.action, shot.dual) for shot in scene.shots])
        for scene in script.scenes
    ]
    assert told == [
        ("", "", [("", "", "Black.", False)]),
        (
            "INT. CAFÉ 🎬 - DAY",
            "1A",
            [
                ("", "", "Unbelievable hands", False),
                ("ANNA (V.O.)", "Tom & I <3 it.", "softly", False),
                ("TOM", "No.", "", False),
                ("ANNA", "Yes.", "", True),
                ("", "Who spoke?", "", False),
            ],
        ),
        ("EXT. STREET", "", [("", "", "AERIAL ON THE CITY", False)]),
    ]
    assert [[(kept.kind, kept.text) for kept in scene.kept] for scene in script.scenes] == [
        [],
        [(KeptKind.SYNOPSIS, "They meet."), (KeptKind.NOTE, "check"), (KeptKind.TRANSITION, "CUT TO:")],
        [(KeptKind.SECTION, "Act Two")],
    ]
    assert [(kept.kind, kept.text) for kept in script.kept] == [
        (KeptKind.PAGE_FURNITURE, "Draft 2"),
        (KeptKind.TITLE_PAGE, "My Film"),
    ]
    assert [shot.shot_type.value for scene in script.scenes for shot in scene.shots] == [
        *("medium", "close_up", "close_up", "medium", "close_up", "medium", "establishing")
    ]


def test_a_scene_is_also_given_as_plain_text() -> None:
    scenes = parse_script(DOCUMENT, ScriptMode.SCREENPLAY).scenes
    assert scenes[1].content.startswith(
        "INT. CAFÉ 🎬 - DAY\n\nUnbelievable hands\n\nANNA (V.O.)\n(softly)\nTom & I <3\nit.\n\nTOM\nNo."
    )


@pytest.mark.parametrize("prefix", ["", "\ufeff", "\n \n", "\ufeff\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_places_are_those_of_the_paragraphs(prefix: str, end: str) -> None:
    text = prefix + DOCUMENT.replace("\n", end)
    script = parse_script(text, ScriptMode.AUTO)
    for scene in script.scenes:
        if scene.heading:
            heading = text[scene.heading_start : scene.heading_end]
            assert heading.startswith("<Paragraph ")
            assert heading.endswith("</Paragraph>")
            assert scene.heading in heading
        for shot in scene.shots:
            source = text[shot.start : shot.end]
            assert source.startswith("<Paragraph")
            assert source.endswith("</Paragraph>")
            assert scene.start <= shot.start < shot.end <= scene.end
            assert all(html.escape(word) in source for word in shot.dialogue.split())
        for kept in scene.kept:
            assert kept.text in text[kept.start : kept.end]


def test_in_other_modes_xml_is_text() -> None:
    for mode in (ScriptMode.NUMBERED, ScriptMode.FREEFORM):
        script = parse_script("<FinalDraft>", mode)
        assert not script.final_draft
        assert script.scenes[0].shots[0].action == "<FinalDraft>"


LAUGHS = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]>{document("&a9;")}', "refused"),
        (f'<!DOCTYPE x [<!ENTITY a "{"x" * 10_000}">]>{document("<Paragraph><Text>" + "&a;" * 10_000)}', "refused"),
        (f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>{document("&a;")}', "refused"),
        (f'<!DOCTYPE x SYSTEM "http://localhost:1/x.dtd">{document("")}', "refused"),
        (f'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://localhost:1/x"> %a;]>{document("")}', "refused"),
        (document("&a;"), "not well formed"),
        ("<FinalDraft>", "not well formed"),
        (document("<Paragraph>") + "x", "not well formed"),
        (document("\x01"), "not well formed"),
        (document("\ud800"), "not well formed"),
        ('<?xml version="1.0"?><html/>', "no Final Draft document"),
    ],
)
@pytest.mark.parametrize("mode", [ScriptMode.AUTO, ScriptMode.SCREENPLAY])
def test_unsafe_broken_and_foreign_xml_is_refused(text: str, message: str, mode: ScriptMode) -> None:
    started = time.process_time()
    with pytest.raises(InvalidArgument, match=message) as caught:
        parse_script(text, mode)
    assert [violation.field for violation in caught.value.violations] == ["script"]
    assert time.process_time() - started < 2.0


def test_a_document_without_words_has_no_scenes() -> None:
    script = parse_script(document("<Paragraph Type='Action'><Text> </Text></Paragraph>"), ScriptMode.AUTO)
    assert (script.scenes, script.kept) == ((), ())


KINDS = [
    "Action",
    "Scene Heading",
    "Character",
    "Parenthetical",
    "Dialogue",
    "Transition",
    "General",
    "New Act",
    "",
    "?",
]
WORDS = st.text(alphabet="abÄ走🎬 &<>'\"", min_size=1, max_size=12)


def all_words(script: ParsedScript) -> list[str]:
    texts = [kept.text for kept in script.kept]
    for scene in script.scenes:
        texts += [scene.heading, *(kept.text for kept in scene.kept)]
        texts += [part for shot in scene.shots for part in (shot.character, shot.action, shot.dialogue)]
    return sorted(word for text in texts for word in text.split())


@given(
    paragraphs=st.lists(st.tuples(st.sampled_from(KINDS), st.lists(WORDS, max_size=3))),
    indent=st.sampled_from(["", "\n  ", "\r\n", "\r"]),
)
def test_no_word_is_lost(paragraphs: list[tuple[str, list[str]]], indent: str) -> None:
    body = ""
    for kind, runs in paragraphs:
        texts = "".join(f"{indent}<Text>{html.escape(run)}</Text>" for run in runs)
        body += f'{indent}<Paragraph Type="{kind}">{texts}{indent}</Paragraph>'
    script = parse_script(document(body), ScriptMode.AUTO)
    assert all_words(script) == sorted(word for _, runs in paragraphs for word in "".join(runs).split())


def test_time_grows_with_the_length_not_faster() -> None:
    def seconds(units: int, unit: str) -> float:
        text = document(unit * units)
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            parse_script(text, ScriptMode.AUTO)
            best = min(best, time.process_time() - started)
        return best

    for unit in (
        "<Paragraph Type='Action'><Text>walk\n</Text></Paragraph>",
        "<A>x</A>\n",
        "<Paragraph><A>x</A>\n</Paragraph>",
    ):
        assert seconds(4_000, unit) <= 64 * seconds(250, unit) + 0.1
    # Depth, too.
    nested = "<Paragraph>" * 20_000 + "x" + "</Paragraph>" * 20_000
    assert all_words(parse_script(document(nested), ScriptMode.AUTO)) == ["x"]
