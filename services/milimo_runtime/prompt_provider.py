"""Language models that write prompts: Gemma in the video process, or Ollama on this machine, behind one interface.

A provider is asked while no lease is held: it may need memory itself. Its failure is never that of a job.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import grpc
from milimo.v1 import common_pb2, text_pb2, text_pb2_grpc

from milimo_runtime.channels import CLIENT_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milimo_runtime.settings import ServiceSettings

TEMPERATURE: Final = 0.7
TOP_P: Final = 0.9
OLLAMA_TOKENS: Final = 400
OLLAMA_SECONDS: Final = 30.0
GEMMA_TOKENS: Final = 512
# It may have to wait for its turn of the lease.
GEMMA_SECONDS: Final = 120.0
# Families of models that see, and what `/api/show` calls it.
_SEEING: Final = frozenset({"mllama", "clip", "llava", "bakllava", "moondream"})
_VISION: Final = "vision"
_ANSWER_CHARACTERS: Final = 10_000

VIDEO_SYSTEM: Final = (
    "You write prompts for a video model. Rewrite the user's prompt as one paragraph of at most 150 words. Begin with "
    "the action. Then what is seen: subjects, their movements in order, the camera's movement, place, light. Be "
    "concise and literal, in the present tense. Keep every subject, name and quoted word of the user's. No titles, no "
    "lists, no comments: answer with the prompt alone."
)
IMAGE_SYSTEM: Final = (
    "You write prompts for an image model. Rewrite the user's prompt as one vivid, detailed paragraph of at most 150 "
    "words: subject, setting, composition, light, colours, materials, mood. Keep every subject, name and quoted word "
    "of the user's. No titles, no lists, no comments: answer with the prompt alone."
)
CONTINUATION_SYSTEM: Final = (
    "You continue a video that is made in parts of a few seconds. The user gives the whole idea, the prompts of the "
    "parts so far, and which part is next. Write the prompt of that part, one paragraph of at most 100 words: what "
    "happens next, in motion, in the same place with the same subjects, light and style. Do not repeat what has "
    "happened. No titles, no lists, no comments: answer with the prompt alone."
)


class ProviderFailed(Exception):
    """No prompt came of it; the text says why, for people."""


class PromptProvider(Protocol):
    """A language model that answers one question."""

    @property
    def name(self) -> str:
        """As events and answers call it: "gemma", "ollama"."""

    def ask(self, system: str, question: str, *, seed: int, image: bytes | None = None) -> str:
        """The answer, never empty, at most 10,000 characters.

        `image` (PNG or JPEG, at most 3 MiB) is shown to a model that sees. Raises ProviderFailed.
        """

    def unload(self) -> None:
        """Gives memory back before a generation asks for its lease; what goes wrong with that is left alone."""


@dataclass(frozen=True, kw_only=True)
class OllamaProvider:
    """Ollama by its HTTP API. `keep_alive` as it takes it: "0" unloads the model after each answer."""

    url: str
    model: str
    keep_alive: str = "0"
    seconds: float = OLLAMA_SECONDS
    name: Literal["ollama"] = "ollama"

    def ask(self, system: str, question: str, *, seed: int, image: bytes | None = None) -> str:
        """As `PromptProvider.ask`."""
        user: dict[str, Any] = {"role": "user", "content": question}
        if image is not None and self._sees():
            user["images"] = [base64.b64encode(image).decode("ascii")]
        answer = self._post(
            "/api/chat",
            {
                "model": self.model,
                "messages": [{"role": "system", "content": system}, user],
                "stream": False,
                "keep_alive": _keep_alive(self.keep_alive),
                "options": {
                    "temperature": TEMPERATURE,
                    "top_p": TOP_P,
                    "num_predict": OLLAMA_TOKENS,
                    "seed": seed % 2**31,
                },
            },
        )
        message = answer.get("message")
        return _clean(message.get("content") if isinstance(message, dict) else None, self.name)

    def unload(self) -> None:
        """Asks Ollama to drop the model now."""
        try:
            self._post("/api/generate", {"model": self.model, "keep_alive": 0})
        except ProviderFailed:
            # It may not run at all; the arbiter asks again when it needs the room.
            return

    def _sees(self) -> bool:
        shown = self._post("/api/show", {"model": self.model})
        details, capabilities = shown.get("details"), shown.get("capabilities")
        families = details.get("families") if isinstance(details, dict) else None
        return bool(
            (isinstance(capabilities, list) and _VISION in capabilities)
            or (isinstance(families, list) and _SEEING.intersection(map(str, families)))
        )

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        # Imported by who uses it: most processes never do.
        import httpx

        try:
            response = httpx.post(self.url.rstrip("/") + path, json=body, timeout=self.seconds)
            response.raise_for_status()
            answer = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ProviderFailed(f"ollama: {error or type(error).__name__}") from error
        if not isinstance(answer, dict):
            raise ProviderFailed("ollama: its answer is not what was asked for")
        return answer


@dataclass(frozen=True, kw_only=True)
class GemmaProvider:
    """The video model's text encoder, through TextGenerationService; it takes a lease of its own."""

    address: str
    seconds: float = GEMMA_SECONDS
    name: Literal["gemma"] = "gemma"

    def ask(self, system: str, question: str, *, seed: int, image: bytes | None = None) -> str:
        """As `PromptProvider.ask`."""
        request = text_pb2.GenerateTextRequest(
            messages=[
                text_pb2.ChatMessage(role=text_pb2.CHAT_ROLE_SYSTEM, text=system),
                text_pb2.ChatMessage(role=text_pb2.CHAT_ROLE_USER, text=question),
            ],
            image=None if image is None else common_pb2.ImageSource(content=image),
            max_new_tokens=GEMMA_TOKENS,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=seed % 2**32,
        )
        with grpc.insecure_channel(self.address, options=CLIENT_OPTIONS) as channel:
            try:
                answer = text_pb2_grpc.TextGenerationServiceStub(channel).GenerateText(request, timeout=self.seconds)
            except grpc.RpcError as error:
                why = error.details() if isinstance(error, grpc.Call) else str(error)
                raise ProviderFailed(f"gemma: {why}") from error
        return _clean(answer.text, self.name)

    def unload(self) -> None:
        """Nothing to do: its weights are the video model's."""


def provider_of(settings: ServiceSettings) -> PromptProvider | None:
    """The provider that the settings name; None when there is none."""
    match settings.prompt_provider:
        case "gemma":
            return GemmaProvider(address=settings.video_address)
        case "ollama":
            return OllamaProvider(
                url=settings.prompt_ollama_url,
                model=settings.prompt_ollama_model,
                keep_alive=settings.prompt_ollama_keep_alive,
            )
        case "none":
            return None


def enhanced(
    provider: PromptProvider, prompt: str, *, kind: Literal["video", "image"], seed: int, image: bytes | None = None
) -> str:
    """The prompt, enriched. Raises ProviderFailed."""
    system = VIDEO_SYSTEM if kind == "video" else IMAGE_SYSTEM
    return provider.ask(system, prompt, seed=seed, image=image)


def continued(provider: PromptProvider, prompt: str, so_far: Sequence[str], *, parts: int, seed: int) -> str:
    """The prompt of the part after those `so_far`, of `parts` in all. Raises ProviderFailed."""
    told = "\n".join(f"{number}. {text}" for number, text in enumerate(so_far, 1))
    question = f"Idea: {prompt}\n\nParts so far:\n{told}\n\nWrite part {len(so_far) + 1} of {parts}."
    return provider.ask(CONTINUATION_SYSTEM, question, seed=seed)


def _keep_alive(value: str) -> str | int:
    """Ollama takes seconds as a number, and "5m" as a string."""
    try:
        return int(value)
    except ValueError:
        return value


def _clean(answer: object, name: str) -> str:
    """One line without the quotes and fences that models put around what they were asked for."""
    if not isinstance(answer, str):
        raise ProviderFailed(f"{name}: its answer is not what was asked for")
    text = " ".join(answer.replace("```", " ").split()).strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    if not text:
        raise ProviderFailed(f"{name}: its answer is empty")
    return text[:_ANSWER_CHARACTERS]
