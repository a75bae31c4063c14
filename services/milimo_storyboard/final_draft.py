"""Final Draft documents (`.fdx`): from XML to the elements of a screenplay.

The XML is read by defusedxml: a document type, an entity or an external reference is refused, so no entity can grow or
fetch anything. Places come from the reader's locator, in characters of the given text.

Paragraphs of the body become elements by their type; unknown types are actions. All other paragraphs are kept: title
page, scene summaries, notes, alternates, headers and footers. Lists of names that Final Draft keeps for completion
(SmartType, cast) are no paragraphs and no part of the script.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import create_parser
from milimo_runtime.errors import InvalidArgument

from milimo_storyboard.lines import collapse
from milimo_storyboard.parsed_script import KeptKind, KeptText
from milimo_storyboard.screenplay import Element, ElementKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.sax.xmlreader import AttributesImpl, Locator

_ELEMENTS: Final = {
    "Scene Heading": ElementKind.HEADING,
    "Character": ElementKind.CUE,
    "Parenthetical": ElementKind.PARENTHETICAL,
    "Dialogue": ElementKind.SPEECH,
    "Lyrics": ElementKind.SPEECH,
    "Singing": ElementKind.SPEECH,
}
_KEPT: Final = {
    "Transition": KeptKind.TRANSITION,
    "New Act": KeptKind.SECTION,
    "End of Act": KeptKind.SECTION,
}
# What a paragraph is whose ancestor has this name; the innermost ancestor decides.
_PARTS: Final = {
    "TitlePage": KeptKind.TITLE_PAGE,
    "HeaderAndFooter": KeptKind.PAGE_FURNITURE,
    "Header": KeptKind.PAGE_FURNITURE,
    "Footer": KeptKind.PAGE_FURNITURE,
    "Summary": KeptKind.SYNOPSIS,
    "SceneProperties": KeptKind.SYNOPSIS,
    "ScriptNote": KeptKind.NOTE,
    "ScriptNotes": KeptKind.NOTE,
    "Alt": KeptKind.NOTE,
    "AltCollection": KeptKind.NOTE,
    "ListItems": KeptKind.NOTE,
}
_ROOT: Final = "FinalDraft"
_BODY: Final = "Content"  # of the root; other parts have a Content of their own
_XML_LINE_END = re.compile("\r\n?+|\n")
# Plain text of a scene: what stands directly below the line before it.
_WITHOUT_BLANK: Final = frozenset((ElementKind.PARENTHETICAL, ElementKind.SPEECH))


@dataclass(frozen=True, kw_only=True)
class FinalDraftText:
    """A Final Draft document."""

    elements: tuple[Element, ...]  # by place
    kept: tuple[KeptText, ...]  # in no order
    body_start: int
    body_end: int


def looks_like_final_draft(text: str) -> bool:
    """Whether `text` is XML, or begins like a Final Draft document."""
    return text.lstrip().startswith(("<?xml", "<!DOCTYPE", f"<{_ROOT}"))


def read_final_draft(text: str) -> FinalDraftText:
    """Returns the elements of a Final Draft document.

    Raises InvalidArgument("script") for XML that is not well formed, is no Final Draft document, or declares a document
    type or entities. Time is linear in the text.
    """
    # White space before the XML declaration is an error of XML, and common in pasted text.
    lead = len(text) - len(text.lstrip())
    xml = text[lead:]
    parser = create_parser(forbid_dtd=True)
    reader = _Reader(xml, parser, lead)
    parser.setContentHandler(reader)
    try:
        parser.feed(xml)
        parser.close()
    except DefusedXmlException as error:
        raise InvalidArgument(
            "script", f"XML with a document type or entities is refused ({error}); save it again from Final Draft"
        ) from error
    except (SAXParseException, UnicodeEncodeError) as error:
        raise InvalidArgument("script", f"the XML is not well formed: {error}") from error
    return FinalDraftText(
        elements=tuple(sorted(reader.elements, key=lambda element: element.start)),
        kept=tuple(reader.kept),
        body_start=reader.body_start,
        body_end=reader.body_end,
    )


def plain_text(elements: Sequence[Element]) -> str:
    """Returns a scene's elements as plain text, in the look of Fountain."""
    parts: list[str] = []
    for element in elements:
        if element.text:
            if parts:
                parts.append("\n" if element.kind in _WITHOUT_BLANK else "\n\n")
            parts.append(f"({element.text})" if element.kind is ElementKind.PARENTHETICAL else element.text)
    return "".join(parts)


@dataclass
class _Paragraph:
    start: int
    kind: str
    number: str
    part: KeptKind | None  # None in the body
    text: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Node:
    """An XML element that is open."""

    name: str
    part: KeptKind | None  # None in the body
    in_text: bool  # its character data are words, white space included
    paragraph: _Paragraph | None  # the one that this element opened


class _Reader(ContentHandler):
    """Collects the paragraphs of a document."""

    def __init__(self, xml: str, locator: Locator, shift: int) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.kept: list[KeptText] = []
        self.body_start = shift
        self.body_end = shift + len(xml)
        self._xml = xml
        self._shift = shift
        self._locator = locator
        # XML counts lines by CR LF, CR and LF, the locator's columns are characters.
        self._line_starts = [0, *(match.end() for match in _XML_LINE_END.finditer(xml))]
        self._nodes: list[_Node] = []
        self._paragraphs: list[_Paragraph] = []
        self._dual_cues: list[int] = []  # one count for each dual dialogue that is open

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        depth = len(self._nodes)
        if depth == 0 and name != _ROOT:
            raise InvalidArgument("script", f"the XML is no Final Draft document: its root is {name!r}, not {_ROOT!r}")
        parent = self._nodes[-1] if self._nodes else None
        part = _PARTS.get(name, parent.part if parent else KeptKind.NOTE)
        if depth == 1 and name == _BODY:
            part = None
            self.body_start = self._place()
        if name == "DualDialogue":
            self._dual_cues.append(0)
        paragraph = None
        if name == "Paragraph" or (name == "Text" and not self._paragraphs):
            paragraph = _Paragraph(
                start=self._place(), kind=str(attrs.get("Type", "")), number=str(attrs.get("Number", "")), part=part
            )
            self._paragraphs.append(paragraph)
        in_text = name == "Text" or (name != "Paragraph" and parent is not None and parent.in_text)
        self._nodes.append(_Node(name=name, part=part, in_text=in_text, paragraph=paragraph))

    def characters(self, content: str) -> None:
        # Between the runs of a paragraph stands white space that only indents the XML: a word may span two runs.
        if self._paragraphs and (self._nodes[-1].in_text or not content.isspace()):
            self._paragraphs[-1].text.append(content)

    def endElement(self, name: str) -> None:
        node = self._nodes.pop()
        if node.paragraph is not None:
            self._close(self._paragraphs.pop())
        if name == "DualDialogue":
            self._dual_cues.pop()
        elif name == _BODY and len(self._nodes) == 1:
            self.body_end = self._place()

    def _close(self, paragraph: _Paragraph) -> None:
        words = collapse("".join(paragraph.text))
        if not words:
            return
        start = paragraph.start
        end = self._xml.find(">", self._place() - self._shift) + 1 + self._shift
        kept_as = paragraph.part or _KEPT.get(paragraph.kind)
        if kept_as is None and paragraph.kind.startswith("Outline"):
            kept_as = KeptKind.SECTION
        if kept_as is not None:
            self.kept.append(KeptText(kind=kept_as, text=words, start=start, end=end))
            if paragraph.part is None:
                self.elements.append(Element(ElementKind.BREAK, "", start, end))
            return
        kind = _ELEMENTS.get(paragraph.kind, ElementKind.ACTION)
        dual = False
        if kind is ElementKind.PARENTHETICAL:
            words = words.removeprefix("(").removesuffix(")").strip()
        elif kind is ElementKind.CUE and self._dual_cues:
            self._dual_cues[-1] += 1
            dual = self._dual_cues[-1] > 1
        self.elements.append(Element(kind, words, start, end, paragraph.number, dual))

    def _place(self) -> int:
        """Offset into the given text of the event that is being read."""
        line, column = self._locator.getLineNumber(), self._locator.getColumnNumber()
        return self._line_starts[(line or 1) - 1] + (column or 0) + self._shift
