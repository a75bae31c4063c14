"""JSON answers: a grammar made from a JSON schema, and the shortest ways to end a text that is not whole yet.

The grammar, llguidance's, lets the model write only what the schema allows, so that an answer that comes to its end
fits. One that runs out of tokens is cut back to where it can still be ended within them, and ended without the model.
"""

from __future__ import annotations

import json
import random
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from milimo_runtime.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# As Python's json writes, and models have read most; other white space would only use up tokens.
_OPTIONS: Final[Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# A way to the end of the shortest answer is looked for within so many bytes, the second number only when there is no
# shorter one; to that of a longer answer within the first number more than twice that.
_CLOSING_BYTES: Final = (512, 16_384)
# How often a random way to the end is tried where the plain one is long, or leads to none, as with patterns.
_ATTEMPTS: Final = 8
_PLAIN_BYTES: Final = 128
_END: Final = 256

# Bytes in the order in which they end a value soonest: in a string, and elsewhere. Digits from 9 on: they leave ranges
# that are open below sooner. What is not listed comes last.
_IN_STRING: Final = b'"an'
_ELSEWHERE: Final = b'}],ntf"9876543210.-: eE+[{'


class _Bytes:
    """A vocabulary of bytes, as llguidance wants one."""

    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([value]) for value in range(256)), b"<end>")
    special_token_ids = (_END,)
    is_tokenizer_wrapper = True

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def _byte_tokenizer() -> LLTokenizer:
    return LLTokenizer(_Bytes())  # type: ignore[arg-type]  # Has what the class documents, as a protocol would say.


class JsonGrammar:
    """What a JSON schema allows. Safe for several threads: it holds no state of a text."""

    def __init__(self, schema: Mapping[str, Any], *, field: str = "json_schema") -> None:
        """Compiles the schema; `field` of the request is at fault when that fails.

        Raises:
            InvalidArgument: the schema is wrong, uses what cannot be guaranteed, or allows nothing of finite length.
        """
        self._source = LLMatcher.grammar_from_json_schema(
            json.dumps(_required_first(schema)),
            # Above what the schema says about it.
            overrides=_OPTIONS,
        )
        problem = LLMatcher.validate_grammar(self._source, _byte_tokenizer())
        if problem:
            raise InvalidArgument(field, f"cannot be used: {problem}")
        shortest = self._closing(b"", _CLOSING_BYTES)
        if shortest is None:
            raise InvalidArgument(field, "cannot be used: no short answer was found that fits it")
        # A short answer that fits, the shortest that was found.
        self.shortest = shortest
        self._limit = _CLOSING_BYTES[0] + 2 * len(shortest)

    def matcher(self, tokenizer: LLTokenizer) -> LLMatcher:
        """The state of a text that is written with the tokens of `tokenizer`."""
        return LLMatcher(tokenizer, self._source, log_level=0)

    def closing(self, written: bytes) -> bytes | None:
        """A short text that makes `written` whole, or None when none was found; `shortest` when nothing is written."""
        if not written:
            return self.shortest
        return self._closing(written, (self._limit,))

    def _closing(self, written: bytes, limits: Sequence[int]) -> bytes | None:
        start = LLMatcher(_byte_tokenizer(), self._source, log_level=0)
        if not start.consume_tokens(list(written)):
            return None
        drawn = random.Random(0)  # noqa: S311  Any way will do, the same each time.
        for limit in limits:
            plain = _ending(start.deep_copy(), written, limit, None)
            if plain is not None and len(plain) <= _PLAIN_BYTES:
                return plain
            others = [_ending(start.deep_copy(), written, limit, drawn) for _ in range(_ATTEMPTS)]
            found = [each for each in (plain, *others) if each is not None]
            if found:
                return min(found, key=len)
        return None


def _ending(matcher: LLMatcher, written: bytes, limit: int, drawn: random.Random | None) -> bytes | None:
    """Walks to the end of the text; `drawn` chooses where no byte ends a string or a number."""
    in_string = _ends_in_string(written)
    added = bytearray()
    escaped = in_string and _ends_escaped(written)
    while len(added) <= limit:
        if matcher.is_accepting():
            return bytes(added)
        allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[:_END]
        candidates = np.flatnonzero(allowed).tolist()
        if not candidates:
            return None
        ends, order = (b'"', _IN_STRING) if in_string else (b"}],", _ELSEWHERE)
        if drawn is not None and (escaped or not any(byte in candidates for byte in ends)):
            chosen = drawn.choice(candidates)
        else:
            chosen = next((byte for byte in order if byte in candidates), candidates[0])
        if not matcher.consume_token(chosen):
            return None
        added.append(chosen)
        if in_string and escaped:
            escaped = False
        elif in_string and chosen == ord("\\"):
            escaped = True
        elif chosen == ord('"'):
            in_string = not in_string
    return None


def _ends_in_string(text: bytes) -> bool:
    inside = escaped = False
    for byte in text:
        if escaped:
            escaped = False
        elif inside and byte == ord("\\"):
            escaped = True
        elif byte == ord('"'):
            inside = not inside
    return inside


def _ends_escaped(text: bytes) -> bool:
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _required_first(schema: Any) -> Any:
    """The schema with its required properties in front, in the order of that list.

    Properties are written in the order of the schema, which a message of the contract does not keep. The others follow
    by name: an answer can be ended as soon as the required ones are there.
    """
    if isinstance(schema, list):
        return [_required_first(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    ordered = {key: _required_first(value) for key, value in schema.items()}
    properties, required = ordered.get("properties"), ordered.get("required")
    if isinstance(properties, dict):
        listed = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        first = [name for name in dict.fromkeys(listed) if name in properties]
        names = [*first, *sorted(set(properties) - set(first))]
        ordered["properties"] = {name: properties[name] for name in names}
    return ordered


def is_json(text: bytes) -> bool:
    """Whether any reader takes it: numbers of thousands of digits and values that are nested as deep are refused."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def fitted(grammar: JsonGrammar, tokenizer: LLTokenizer, tokens: Sequence[int], budget: int) -> list[int] | None:
    """The tokens of a whole answer, at most `budget` of them, which begins with as many of `tokens` as possible.

    `tokens` are allowed by the grammar, without an end. None when not even the shortest answer has room.
    """
    kept = min(len(tokens), budget)
    while kept >= 0:
        written = tokenizer.decode_bytes(list(tokens[:kept]))
        closing = grammar.closing(written)
        if closing is None or not is_json(written + closing):
            # So deep or long that it makes no sense to go back one by one.
            kept = kept // 2 if kept else -1
            continue
        ending = tokenizer.tokenize_bytes(closing)
        too_many = kept + len(ending) - budget
        if too_many <= 0:
            return [*tokens[:kept], *ending]
        kept = max(0, kept - too_many) if kept else -1
    return None
