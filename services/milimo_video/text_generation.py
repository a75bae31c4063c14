"""Text from the text encoder of the video model: a chat goes in, the model's answer comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from llguidance import hf
from milimo_runtime.errors import InvalidArgument
from PIL.Image import Resampling

from milimo_video.json_answer import fitted, is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llguidance import LLMatcher, LLTokenizer
    from PIL.Image import Image

    from milimo_video.json_answer import JsonGrammar

# Ends the model's turn, beside the ends that its checkpoint names.
_END_OF_TURN: Final = "<end_of_turn>"


@dataclass(frozen=True, kw_only=True)
class Message:
    """A turn of the chat."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class TextRequest:
    """A chat that the model answers. The last message is the user's; a system message can only be the first."""

    messages: Sequence[Message]
    # Shown with the last message.
    image: Image | None
    # The answer is JSON that fits; None: any text.
    grammar: JsonGrammar | None
    max_new_tokens: int
    # 0 is greedy.
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class GeneratedText:
    """The answer; `truncated` when its tokens were used up before the model came to its end."""

    text: str
    prompt_tokens: int
    new_tokens: int
    truncated: bool


class TextWriter:
    """Answers chats with a Gemma 3. Holds no weights between calls; one thread uses it at a time."""

    def __init__(self, *, prompt_tokens: int) -> None:
        """A chat may have so many tokens, an image of it counted."""
        self._prompt_tokens = prompt_tokens
        # A tokenizer and what the grammar makes of it, which takes a second at full size.
        self._known: tuple[Any, LLTokenizer] | None = None

    @torch.no_grad()
    def write(
        self, model: Any, tokenizer: Any, device: torch.device, request: TextRequest, check: Callable[[], None]
    ) -> GeneratedText:
        """The answer. `check` is called before each token and may raise, which ends it.

        Args:
            model: a Gemma3ForConditionalGeneration, on `device` or streamed to it.
            tokenizer: the model's own, with its chat template.
            device: where the model computes.
            request: what is asked.
            check: raises to end the work.

        Raises:
            InvalidArgument: the chat is too long, or `max_new_tokens` too few for any answer that fits.
        """
        from transformers import DynamicCache

        config = model.config
        ids = _token_ids(tokenizer, config, request)
        room = min(self._prompt_tokens, config.get_text_config().max_position_embeddings - request.max_new_tokens)
        if len(ids) > room:
            raise InvalidArgument("messages", f"have {len(ids):,} tokens; {max(0, room):,} are possible here")
        cache = DynamicCache(config=config.get_text_config())

        def following(tokens: Sequence[int], **inputs: Any) -> torch.Tensor:
            """What the model expects after these tokens and all those before: float32 [vocabulary], on the CPU."""
            answer = model(
                input_ids=torch.tensor([tokens], device=device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **inputs,
            )
            scores: torch.Tensor = answer.logits[0, -1].to("cpu", torch.float32)
            return scores

        first: dict[str, Any] = {}
        if request.image is not None:
            marks = torch.tensor([ids], device=device) == config.image_token_index
            pixels = _pixels(request.image, config.vision_config.image_size).to(device, model.dtype)
            first = {"pixel_values": pixels, "token_type_ids": marks.long()}

        ends = _ends(model, tokenizer)
        choice = _Choice(request, self._grammar_tokens(tokenizer, ends) if request.grammar else None, ends)
        check()
        scores = following(ids, **first)
        # Ids beyond the tokenizer's are padding of the weights.
        scores_of_text = len(tokenizer)
        while choice.take(scores[:scores_of_text]):
            check()
            scores = following(choice.tokens[-1:])
        return choice.answer(tokenizer, prompt_tokens=len(ids))

    def _grammar_tokens(self, tokenizer: Any, ends: frozenset[int]) -> LLTokenizer:
        """The tokenizer as the grammar reads it."""
        if self._known is None or self._known[0] is not tokenizer:
            made = hf.from_tokenizer(tokenizer, n_vocab=len(tokenizer), eos_token=sorted(ends))
            self._known = (tokenizer, made)
        return self._known[1]


class _Choice:
    """The answer as it grows: chooses token by token among what is allowed."""

    def __init__(self, request: TextRequest, tokens: LLTokenizer | None, ends: frozenset[int]) -> None:
        self.tokens: list[int] = []
        self._request = request
        self._ends = ends
        self._generator = torch.Generator().manual_seed(request.seed)
        self._grammar_tokens = tokens
        self._matcher: LLMatcher | None = None
        self._shortest: list[int] = []
        self._truncated = False
        if tokens is not None and request.grammar is not None:
            self._shortest = tokens.tokenize_bytes(request.grammar.shortest)
            if len(self._shortest) > request.max_new_tokens:
                raise InvalidArgument(
                    "max_new_tokens",
                    f"is too small: the shortest answer that fits the schema takes {len(self._shortest)} tokens",
                )
            self._matcher = request.grammar.matcher(tokens)

    def take(self, scores: torch.Tensor) -> bool:
        """Chooses the next token by what the model expects, [vocabulary]; whether there is another one after it."""
        matcher = self._matcher
        if matcher is not None:
            allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
            scores = scores.masked_fill(torch.from_numpy(allowed[: len(scores)] == 0), -torch.inf)
        if bool((scores == -torch.inf).all()):
            # The grammar gave up, being too complex: what is there is brought to an end.
            self._truncated = True
            return False
        token = _drawn(scores, self._request.temperature, self._request.top_p, self._generator)
        if token in self._ends:
            return False
        self.tokens.append(token)
        if matcher is not None:
            matcher.consume_token(token)
            if matcher.is_stopped() and not matcher.is_error():
                return False
        self._truncated = len(self.tokens) == self._request.max_new_tokens
        return not self._truncated

    def answer(self, tokenizer: Any, *, prompt_tokens: int) -> GeneratedText:
        """The whole answer: JSON that was cut off is ended."""
        grammar, grammar_tokens, tokens = self._request.grammar, self._grammar_tokens, self.tokens
        if grammar is None or grammar_tokens is None:
            text = tokenizer.decode(tokens, skip_special_tokens=True)
        else:
            written = grammar_tokens.decode_bytes(tokens)
            if self._truncated or not is_json(written):
                self._truncated = True
                tokens = fitted(grammar, grammar_tokens, tokens, self._request.max_new_tokens) or self._shortest
                written = grammar_tokens.decode_bytes(tokens)
            text = written.decode()
        return GeneratedText(text=text, prompt_tokens=prompt_tokens, new_tokens=len(tokens), truncated=self._truncated)


def _drawn(scores: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """A token by its probability among the likeliest that have `top_p` of it together; the likeliest at 0."""
    if temperature == 0:
        return int(scores.argmax())
    shares, tokens = torch.softmax(scores / temperature, dim=-1).sort(descending=True, stable=True)
    shares[shares.cumsum(-1) - shares >= top_p] = 0
    return int(tokens[torch.multinomial(shares, 1, generator=generator)])


def _token_ids(tokenizer: Any, config: Any, request: TextRequest) -> list[int]:
    """The chat as the model was trained to read it, up to where its answer begins."""
    chat: list[dict[str, Any]] = [
        {"role": message.role, "content": [{"type": "text", "text": _plain(tokenizer, message.text)}]}
        for message in request.messages
    ]
    if request.image is not None:
        chat[-1]["content"].insert(0, {"type": "image"})
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    if request.image is not None:
        begin, soft, end = tokenizer.convert_ids_to_tokens(
            [config.boi_token_index, config.image_token_index, config.eoi_token_index]
        )
        text = text.replace(begin, f"\n\n{begin}{soft * config.mm_tokens_per_image}{end}\n\n")
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def _plain(tokenizer: Any, text: str) -> str:
    """The text without the model's marks, such as those of turns: what somebody wrote must not look like them."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and token.content in text:
            text = text.replace(token.content, f"{token.content[0]} {token.content[1:]}")
    return text


def _pixels(image: Image, side: int) -> torch.Tensor:
    """The image as Gemma 3's vision tower wants it: [1, 3, side, side], -1 to 1, squeezed into the square."""
    scaled = np.asarray(image.convert("RGB").resize((side, side), Resampling.BILINEAR), dtype=np.float32)
    return torch.from_numpy(scaled).permute(2, 0, 1)[None] / 127.5 - 1.0


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer."""
    named = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *([] if named is None else [named] if isinstance(named, int) else named)}
    turn = tokenizer.convert_tokens_to_ids(_END_OF_TURN)
    if turn is not None and turn != tokenizer.unk_token_id:
        ids.add(turn)
    return frozenset(ids)
