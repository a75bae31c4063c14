"""TextGenerationService: the edge between the contract and text generation on the video model's text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from milimo.v1 import text_pb2, text_pb2_grpc
from milimo_runtime.calls import on_a_turn
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.image_source import read_picture
from milimo_runtime.seeds import draw_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc.aio
    from google.protobuf import struct_pb2
    from milimo_runtime.calls import Calls, Waiter
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.turn import Turn

    from milimo_video.loaded import LoadedVideo
    from milimo_video.text_generation import GeneratedText, Message, TextRequest, TextWriter

    Context = grpc.aio.ServicerContext[Any, Any]

# Calls of this process that are at work or wait for their turn; one more is refused.
TEXT_CALLS: Final = 16
# Pixels; the model looks at squares of 896.
_WAITING_SIDE: Final = 1792

_ROLES: Final[Mapping[int, Literal["system", "user", "assistant"]]] = {
    text_pb2.CHAT_ROLE_SYSTEM: "system",
    text_pb2.CHAT_ROLE_USER: "user",
    text_pb2.CHAT_ROLE_ASSISTANT: "assistant",
}


class TextGenerationService(text_pb2_grpc.TextGenerationServiceServicer):
    """Text from the video model's text encoder: the weights that videos are made with, on a turn of their lease."""

    def __init__(self, process: ModelProcess[LoadedVideo], calls: Calls) -> None:
        self._process = process
        self._calls = calls
        # Made by the first call, on its turn: torch is not imported before.
        self._writer: TextWriter | None = None

    async def GenerateText(
        self, request: text_pb2.GenerateTextRequest, context: Context
    ) -> text_pb2.GenerateTextResponse:
        """Answers a chat."""

        def call(waiter: Waiter) -> text_pb2.GenerateTextResponse:
            asked = self._request(request)

            def write(turn: Turn[LoadedVideo]) -> GeneratedText:
                def check() -> None:
                    turn.check()
                    waiter.check()

                models = turn.model.models
                parts = models.text_to_video
                return self._text_writer().write(parts.text_encoder, parts.tokenizer, models.device, asked, check)

            text = on_a_turn(self._process.model.residency(), waiter, write)
            return text_pb2.GenerateTextResponse(
                text=text.text,
                prompt_tokens=text.prompt_tokens,
                new_tokens=text.new_tokens,
                truncated=text.truncated,
            )

        return await self._calls.answer(call)

    def _text_writer(self) -> TextWriter:
        from milimo_video.text_generation import TextWriter

        if self._writer is None:
            self._writer = TextWriter(prompt_tokens=self._process.settings.text_prompt_tokens)
        return self._writer

    def _request(self, request: text_pb2.GenerateTextRequest) -> TextRequest:
        """What is asked, in the service's own words. Raises InvalidArgument, NotFound."""
        from milimo_video.json_answer import JsonGrammar
        from milimo_video.text_generation import TextRequest

        grammar, image, settings = None, None, self._process.settings
        if request.HasField("json_schema"):
            grammar = JsonGrammar(schema_from(request.json_schema))
        if request.HasField("image"):
            image = read_picture(self._process, request.image).image
            # It waits for its turn, and the model sees less than this.
            image.thumbnail((_WAITING_SIDE, _WAITING_SIDE))
        limit = request.max_new_tokens if request.HasField("max_new_tokens") else settings.text_max_new_tokens
        return TextRequest(
            messages=_messages(request.messages),
            grammar=grammar,
            image=image,
            max_new_tokens=limit,
            temperature=request.temperature if request.HasField("temperature") else settings.text_temperature,
            top_p=request.top_p if request.HasField("top_p") else settings.text_top_p,
            seed=request.seed if request.HasField("seed") else draw_seed(),
        )


def _messages(messages: Sequence[text_pb2.ChatMessage]) -> Sequence[Message]:
    """The chat. Raises InvalidArgument when its turns are not in the order that the model knows."""
    from milimo_video.text_generation import Message

    found = [Message(role=_ROLES[message.role], text=message.text) for message in messages]
    turns = found[1:] if found[0].role == "system" else found
    offset = len(found) - len(turns)
    for index, message in enumerate(turns):
        expected = "assistant" if index % 2 else "user"
        if message.role != expected:
            raise InvalidArgument(
                f"messages[{index + offset}].role",
                f"is {message.role}; {expected} is expected: after the system, user and assistant take turns",
            )
    if not turns or turns[-1].role != "user":
        raise InvalidArgument("messages", "must end with a message of the user, who is answered")
    return found


def schema_from(value: struct_pb2.Struct) -> dict[str, Any]:
    """The JSON that a Struct stands for, whole numbers as integers. Names are in order: a Struct has none."""
    return {name: _json(value.fields[name]) for name in sorted(value.fields)}


def _json(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return schema_from(value.struct_value)
        case "list_value":
            return [_json(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
