"""JSON answers: whatever a model writes under the grammar, the answer parses, fits its schema and its tokens."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLTokenizer, hf
from milimo_runtime.errors import InvalidArgument
from milimo_tiny.gemma_tokenizer import build_tokenizer
from milimo_video.json_answer import JsonGrammar, fitted, is_json

NAMES = st.sampled_from(["a", "scene", "ä", "shot type", 'q"uote', "back\\slash"])
SHOTS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"action": {"type": "string"}, "seconds": {"type": "integer", "minimum": 1, "maximum": 60}},
        "required": ["action", "seconds"],
        "additionalProperties": False,
    },
}
NESTED = {
    "$defs": {"n": {"type": "object", "properties": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}},
    "$ref": "#/$defs/n",
}


@st.composite
def ranges(draw: st.DrawFn, low: str, high: str, numbers: st.SearchStrategy[Any]) -> dict[str, Any]:
    """None, one or both of two bounds, in their order."""
    first, second = sorted((draw(numbers), draw(numbers)))
    return {key: value for key, value in ((low, first), (high, second)) if draw(st.booleans())}


LEAVES = st.one_of(
    st.sampled_from(
        [
            {},
            {"type": "null"},
            {"type": "boolean"},
            {"type": ["string", "integer"]},
            {"type": "string", "pattern": "^[a-z]+x$"},
            {"type": "integer", "multipleOf": 7},
            {"const": {"a": [1, None]}},
            {"enum": ["medium", "close-up", 3, False, None]},
        ]
    ),
    st.builds(lambda bounds: {"type": "string", **bounds}, ranges("minLength", "maxLength", st.integers(0, 12))),
    st.builds(lambda bounds: {"type": "integer", **bounds}, ranges("minimum", "maximum", st.integers(-500, 500))),
    st.builds(
        lambda bounds: {"type": "number", **bounds},
        ranges("minimum", "maximum", st.integers(-80, 80).map(lambda number: number / 8)),
    ),
)


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, values, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    more: dict[str, Any] = draw(st.sampled_from([{}, {"additionalProperties": False}]))
    return {"type": "object", "properties": properties, "required": required, **more}


SCHEMAS = st.recursive(
    LEAVES,
    lambda values: st.one_of(
        objects(values),
        st.builds(
            lambda items, bounds: {"type": "array", "items": items, **bounds},
            values,
            ranges("minItems", "maxItems", st.integers(0, 4)),
        ),
        st.lists(values, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def tokens() -> LLTokenizer:
    tokenizer = build_tokenizer()
    return hf.from_tokenizer(tokenizer, n_vocab=len(tokenizer))


def written(grammar: JsonGrammar, tokens: LLTokenizer, rng: random.Random, budget: int) -> list[int]:
    """What a model with random weights writes: any allowed token, until it draws the end or the budget is spent."""
    matcher, found = grammar.matcher(tokens), []
    while len(found) < budget and not matcher.is_stopped():
        allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        token = rng.choice(np.flatnonzero(allowed).tolist())
        if token in tokens.eos_tokens:
            break
        assert matcher.consume_token(token)
        found.append(token)
    return found


@settings(max_examples=150, deadline=None)
@given(schema=SCHEMAS, seed=st.integers(0, 2**32), room=st.integers(0, 60))
def test_every_answer_parses_and_fits(tokens: LLTokenizer, schema: dict[str, Any], seed: int, room: int) -> None:
    grammar = JsonGrammar(schema)
    budget = len(tokens.tokenize_bytes(grammar.shortest)) + room
    begun = written(grammar, tokens, random.Random(seed), budget)
    answer = fitted(grammar, tokens, begun, budget)
    assert answer is not None
    assert len(answer) <= budget
    jsonschema.validate(json.loads(tokens.decode_bytes(answer)), schema)


@pytest.mark.parametrize("cut", range(0, 90, 7))
def test_an_answer_keeps_what_has_room(tokens: LLTokenizer, cut: int) -> None:
    text = '[{"action": "Ünter \\"quotes\\" she turns", "seconds": 12}, {"action": "stops", "seconds": 3}]'
    begun = tokens.tokenize_str(text)[:cut]
    grammar = JsonGrammar(SHOTS)
    answer = fitted(grammar, tokens, begun, cut + 2)
    assert answer is not None
    assert len(answer) <= cut + 2
    jsonschema.validate(json.loads(tokens.decode_bytes(answer)), SHOTS)
    # With room for the end nothing at all is lost.
    roomy = fitted(grammar, tokens, begun, cut + 40)
    assert roomy is not None
    assert roomy[:cut] == begun


def test_what_no_reader_takes_is_cut_back(tokens: LLTokenizer) -> None:
    deep = tokens.tokenize_bytes(b"[" * 4000)
    long = tokens.tokenize_bytes(b"9" * 8000)
    for begun in (deep, long):
        answer = fitted(JsonGrammar({}), tokens, begun, 20_000)
        assert answer is not None
        assert is_json(tokens.decode_bytes(answer))
    assert not is_json(b"9" * 8000)


def test_no_room_for_any_answer(tokens: LLTokenizer) -> None:
    grammar = JsonGrammar({"const": "a rather long text"})
    assert fitted(grammar, tokens, [], 3) is None
    assert fitted(grammar, tokens, [], 40) == tokens.tokenize_bytes(b'"a rather long text"')


def test_required_properties_come_in_their_order() -> None:
    properties = {name: {"type": "null"} for name in "abcd"}
    grammar = JsonGrammar({"type": "object", "properties": properties, "required": ["d", "b"]})
    assert json.loads(grammar.shortest) == {"d": None, "b": None}
    assert list(json.loads(grammar.shortest)) == ["d", "b"]


def test_optional_recursion_ends() -> None:
    assert JsonGrammar(NESTED).shortest == b"{}"
    assert json.loads(b'{"n": {"n"' + (JsonGrammar(NESTED).closing(b'{"n": {"n"') or b"")) == {"n": {"n": None}}


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "foo"}, "foo"),
        ({"not": {}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "http://127.0.0.1:1/x"}, "127.0.0.1"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"properties": {"n": {"$ref": "#"}}, "required": ["n"], "type": "object"}, "no short answer"),
    ],
)
def test_a_schema_that_cannot_be_guaranteed_is_refused(schema: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named) as caught:
        JsonGrammar(schema)
    assert caught.value.violations[0].field == "json_schema"
