"""Elements in prompts: what counts as a mention, what takes its place, which images become references."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_runtime.element_prompts import PromptElement, PromptElements, images_of
from milimo_runtime.name_search import Found, NameSearch

ZOE = PromptElement(id="zoe", name="Zoë", trigger_word="@Zoe", description="a tall keeper", image_ids=("z1", "z2"))
RAY = PromptElement(id="ray", name="Ray", trigger_word="@Ray", image_ids=("r1",))
BEAM = PromptElement(id="beam", name="Ray of Light", trigger_word="@RayOfLight", description="a beam")
BOY = PromptElement(id="boy", name="小明", trigger_word="@小明", description="男孩")
ALL = PromptElements([ZOE, RAY, BEAM, BOY])


@pytest.mark.parametrize(
    ("prompt", "text", "elements"),
    [
        ("", "", []),
        ("the sea", "the sea", []),
        ("@Zoe waits", "Zoë (a tall keeper) waits", ["zoe"]),
        ("@ZOE waits, @zoe turns", "Zoë (a tall keeper) waits, Zoë turns", ["zoe"]),
        ("ZOË's hat", "ZOË (a tall keeper)'s hat", ["zoe"]),
        ("Zoë\u0301 waits", "Zoë\u0301 waits", []),
        (unicodedata.normalize("NFD", "zoë waits"), unicodedata.normalize("NFD", "zoë (a tall keeper) waits"), ["zoe"]),
        ("Zoë waits. @Zoe turns", "Zoë (a tall keeper) waits. Zoë turns", ["zoe"]),
        ("@Ray and @Rayleigh", "Ray and @Rayleigh", ["ray"]),
        ("Rayleigh, x-rays, arrays", "Rayleigh, x-rays, arrays", []),
        ("mail@Ray-x", "mail@Ray-x", ["ray"]),
        ("_ray_ ray_ x@ray1", "_ray_ ray_ x@ray1", []),
        ("ray  of\nlight", "ray  of\nlight (a beam)", ["beam"]),
        ("@RayOfLight beside @Ray", "Ray of Light (a beam) beside Ray", ["beam", "ray"]),
        ("@Ray of Light", "Ray of Light", ["ray"]),
        ("看见@小明走路", "看见小明 (男孩)走路", ["boy"]),
    ],
)
def test_mentions(prompt: str, text: str, elements: list[str]) -> None:
    resolved = ALL.resolve(prompt)
    assert (resolved.text, [element.id for element in resolved.elements]) == (text, elements)


@pytest.mark.parametrize(
    ("prompt", "text", "elements"),
    [
        ("", "Zoë (a tall keeper)", ["zoe"]),
        ("a storm", "a storm. Zoë (a tall keeper)", ["zoe"]),
        ("a storm. ", "a storm. Zoë (a tall keeper)", ["zoe"]),
        ("@Zoe in a storm", "Zoë (a tall keeper) in a storm", ["zoe"]),
        ("Ray in a storm", "Ray in a storm. Zoë (a tall keeper)", ["zoe", "ray"]),
    ],
)
def test_elements_that_are_asked_for_are_added_where_the_prompt_does_not_name_them(
    prompt: str, text: str, elements: list[str]
) -> None:
    resolved = ALL.resolve(prompt, asked=[ZOE])
    assert (resolved.text, [element.id for element in resolved.elements]) == (text, elements)


def test_a_trigger_wins_over_a_name_and_the_older_of_two_alike() -> None:
    first = PromptElement(id="1", name="Ann", trigger_word="@one")
    second = PromptElement(id="2", name="ANN", trigger_word="Ray of hope")
    third = PromptElement(id="3", name="hope", trigger_word="@three")
    resolved = PromptElements([first, second, third]).resolve("ann and ray of hope")
    assert [element.id for element in resolved.elements] == ["1", "2"]
    assert resolved.text == "ann and ANN"


def test_what_has_no_letter_is_never_found() -> None:
    assert NameSearch(["", " ", "@", "!?", "-"]).find("@ -!? -") == []
    assert NameSearch([]).find("words") == []


WORDS = st.text("abcßZëÉ小x_@'0 ", min_size=1, max_size=6)
NAMES = WORDS.filter(lambda word: any(map(str.isalnum, word)))
# Signs that stand between words.
GAPS = st.sampled_from([" ", ", ", ". ", "\n", " – ", "(", ")"])


@given(NAMES, GAPS, GAPS)
def test_a_name_between_gaps_is_found_whole(name: str, before: str, after: str) -> None:
    name = name.strip()
    text = f"{before}{name}{after}"
    assert Found(index=0, start=len(before), end=len(before) + len(name)) in NameSearch([name]).find(text)
    swapped = unicodedata.normalize("NFD", name.swapcase())
    assert any(one.start == 0 for one in NameSearch([name]).find(swapped))


@given(st.lists(NAMES, max_size=5), st.text("abcßZëÉx_@'0 .", max_size=40))
def test_found_names_are_whole_words_of_the_text(names: list[str], text: str) -> None:
    for one in NameSearch(names).find(text):
        assert not text[one.start - 1 : one.start].isalnum() or one.start == 0
        assert not text[one.end : one.end + 1].isalnum()
        alike = unicodedata.normalize("NFC", text[one.start : one.end]).casefold()
        assert " ".join(alike.split(" ")).replace("  ", " ").strip() != ""
        first = unicodedata.normalize("NFC", names[one.index].strip()).casefold()
        assert "".join(alike.split()) == "".join(first.split())


ELEMENTS = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6).map(
    lambda letters: [
        PromptElement(id=letter, name=f"N{letter}", trigger_word=f"@{letter}{letter}", description=f"like {number}")
        for number, letter in enumerate(letters)
    ]
)
PROMPTS = st.lists(st.sampled_from(["@aa", "@bb", "@cc", "Na", "NB", "nc", "x", "@", "aa", "(like 1)"]), max_size=12)


@given(ELEMENTS, PROMPTS, st.sampled_from([" ", ", ", "  ", "\n"]))
def test_a_resolved_prompt_stays_as_it_is(elements: list[PromptElement], words: list[str], gap: str) -> None:
    """And so does a prompt that names nothing: descriptions that name no element are the only ones here."""
    known = PromptElements(elements)
    prompt = gap.join(words)
    asked = elements[:2]
    once = known.resolve(prompt, asked=asked)
    again = known.resolve(once.text, asked=asked)
    assert again.text == once.text
    assert {element.id for element in again.elements} == {element.id for element in once.elements}
    # Each element that is shown is described once, and no trigger is left.
    for element in once.elements:
        assert element.phrase.casefold() in once.text.casefold()
    if not once.elements:
        assert once.text == prompt


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4), max_size=5),
    st.integers(-1, 8),
    st.sets(st.sampled_from("abcdef"), max_size=2),
)
def test_images_of_elements(images: list[list[str]], room: int, given_: set[str]) -> None:
    elements = [
        PromptElement(id=str(number), name="n", trigger_word="t", image_ids=tuple(ids))
        for number, ids in enumerate(images)
    ]
    chosen = images_of(elements, room=room, given=given_)
    everything = {image for ids in images for image in ids} - given_
    assert len(chosen.ids) == len(set(chosen.ids)) == min(max(room, 0), len(everything))
    assert len(chosen.ids) + chosen.left_out == len(everything)
    assert set(chosen.ids) <= everything


def test_every_element_has_its_best_image_before_another_has_two() -> None:
    crowd = [
        PromptElement(id=name, name=name, trigger_word=name, image_ids=(f"{name}1", f"{name}2", f"{name}3"))
        for name in "abc"
    ]
    assert images_of(crowd, room=4).ids == ("a1", "a2", "b1", "c1")
    assert images_of(crowd, room=2).ids == ("a1", "b1")


def test_many_elements_take_no_longer_than_the_prompt_is_long() -> None:
    """A pairwise search of 2,000 elements in 10,000 characters would take a hundred times as long."""

    def seconds(count: int) -> float:
        known = PromptElements(
            PromptElement(id=str(number), name=f"Person {number}", trigger_word=f"@p{number}")
            for number in range(count)
        )
        prompt = " ".join(f"@p{number} and person {number}" for number in range(400))[:10_000]
        best = float("inf")
        for _ in range(3):
            begun = time.perf_counter()
            known.resolve(prompt)
            best = min(best, time.perf_counter() - begun)
        return best

    assert seconds(2_000) < 20 * seconds(100)
