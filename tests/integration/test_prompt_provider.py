"""Who writes prompts: what Ollama and Gemma are asked, what is made of their answers, and what when there are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from concurrent import futures
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from milimo.v1 import text_pb2, text_pb2_grpc
from milimo_runtime.job_feed import JobFeed
from milimo_runtime.job_run import JobObserver, JobRun, Signals
from milimo_runtime.jobs import JobKind, NewJob, Notice, PromptEnhanced, Subject
from milimo_runtime.progress import StageSpeeds
from milimo_runtime.prompt_provider import (
    GemmaProvider,
    OllamaProvider,
    ProviderFailed,
    continued,
    enhanced,
    provider_of,
)
from milimo_runtime.settings import ServiceSettings
from milimo_video.narrative import write_prompts
from milimo_video.plan import plan_video, with_prompts_of
from milimo_video.request import VideoRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from milimo_runtime.job_store import JobStore

IMAGE = b"a picture"


@dataclass
class FakeOllama:
    """Answers like Ollama, as the test says."""

    url: str = ""
    families: list[str] = field(default_factory=lambda: ["gemma3"])
    capabilities: list[str] = field(default_factory=list)
    # What it answers, one after the other; an int is a status.
    answers: list[Any] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        self.asked.append((path, body))
        if path == "/api/show":
            return {"details": {"families": self.families}, "capabilities": self.capabilities}
        if path == "/api/generate":
            return {"done": True}
        return self.answers.pop(0)

    @property
    def chats(self) -> list[dict[str, Any]]:
        return [body for path, body in self.asked if path == "/api/chat"]


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    fake = FakeOllama()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = fake.answer(self.path, body)
            status = answer if isinstance(answer, int) else 200
            text = answer if isinstance(answer, str) else json.dumps({} if isinstance(answer, int) else answer)
            self.send_response(status)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def said(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def test_ollama_is_asked_as_it_was_set(ollama: FakeOllama) -> None:
    ollama.answers = [said(' "A boat sails.\n It turns." ')]
    provider = OllamaProvider(url=ollama.url + "/", model="llama", keep_alive="5m")
    assert enhanced(provider, "boat", kind="video", seed=7) == "A boat sails. It turns."
    (chat,) = ollama.chats
    assert (chat["model"], chat["stream"], chat["keep_alive"]) == ("llama", False, "5m")
    assert chat["options"] == {"temperature": 0.7, "top_p": 0.9, "num_predict": 400, "seed": 7}
    assert [message["role"] for message in chat["messages"]] == ["system", "user"]
    assert chat["messages"][1]["content"] == "boat"
    provider.unload()
    assert ollama.asked[-1] == ("/api/generate", {"model": "llama", "keep_alive": 0})


def test_kinds_have_their_own_instructions(ollama: FakeOllama) -> None:
    ollama.answers = [said("one"), said("two"), said("three")]
    provider = OllamaProvider(url=ollama.url, model="llama")
    enhanced(provider, "boat", kind="video", seed=0)
    enhanced(provider, "boat", kind="image", seed=0)
    assert continued(provider, "boat", ["it sails", "it turns"], parts=4, seed=0) == "three"
    assert len({chat["messages"][0]["content"] for chat in ollama.chats}) == 3
    assert "1. it sails\n2. it turns" in ollama.chats[2]["messages"][1]["content"]
    assert "part 3 of 4" in ollama.chats[2]["messages"][1]["content"]
    assert ollama.chats[2]["keep_alive"] == 0


@pytest.mark.parametrize(
    ("families", "capabilities", "sees"),
    [(["gemma3"], [], False), (["gemma3"], ["completion", "vision"], True)]
    + [([family], [], True) for family in ("mllama", "clip", "llava", "bakllava", "moondream")],
)
def test_an_image_is_sent_to_a_model_that_sees(
    ollama: FakeOllama, families: list[str], capabilities: list[str], sees: bool
) -> None:
    ollama.families, ollama.capabilities, ollama.answers = families, capabilities, [said("a boat")]
    enhanced(OllamaProvider(url=ollama.url, model="llama"), "boat", kind="video", seed=0, image=IMAGE)
    assert ("images" in ollama.chats[0]["messages"][1]) == sees


@pytest.mark.parametrize(
    "answer", [500, 404, "no JSON", [], {}, {"message": "text"}, said("  \n"), said('""'), {"message": {"content": 3}}]
)
def test_what_is_no_answer_is_a_failure(ollama: FakeOllama, answer: Any) -> None:
    ollama.answers = [answer]
    with pytest.raises(ProviderFailed, match="ollama"):
        enhanced(OllamaProvider(url=ollama.url, model="llama"), "boat", kind="video", seed=0)


def test_nobody_there_is_a_failure(ollama: FakeOllama) -> None:
    for url in ("http://127.0.0.1:1", "http://", "nonsense"):
        provider = OllamaProvider(url=url, model="llama")
        with pytest.raises(ProviderFailed):
            provider.ask("system", "question", seed=0)
        provider.unload()


@contextlib.contextmanager
def gemma(answer: text_pb2.GenerateTextResponse | grpc.StatusCode) -> Iterator[tuple[GemmaProvider, list[Any]]]:
    """TextGenerationService with one answer."""
    asked: list[Any] = []

    class Answering(text_pb2_grpc.TextGenerationServiceServicer):
        def GenerateText(self, request: Any, context: Any) -> Any:
            asked.append(request)
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "not now")
            return answer

    server = grpc.server(futures.ThreadPoolExecutor(1))
    text_pb2_grpc.add_TextGenerationServiceServicer_to_server(Answering(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield GemmaProvider(address=f"127.0.0.1:{port}", seconds=10), asked
    finally:
        server.stop(None).wait()


def test_gemma_is_asked_through_its_service() -> None:
    with gemma(text_pb2.GenerateTextResponse(text="```A boat sails.```")) as (provider, asked):
        assert enhanced(provider, "boat", kind="video", seed=2**32 + 5, image=IMAGE) == "A boat sails."
    (request,) = asked
    assert [message.text for message in request.messages][1] == "boat"
    assert (request.seed, request.max_new_tokens, request.image.content) == (5, 512, IMAGE)
    assert (request.temperature, request.top_p) == (0.7, 0.9)
    with gemma(grpc.StatusCode.FAILED_PRECONDITION) as (provider, _), pytest.raises(ProviderFailed, match="not now"):
        enhanced(provider, "boat", kind="video", seed=0)


def test_settings_name_the_provider(tmp_path: Path) -> None:
    def named(**values: Any) -> Any:
        return provider_of(ServiceSettings(home=tmp_path, **values))

    assert named() is None
    assert named(prompt_provider="gemma", video_address="127.0.0.1:9") == GemmaProvider(address="127.0.0.1:9")
    made = named(prompt_provider="ollama", prompt_ollama_model="llama", prompt_ollama_keep_alive="5m")
    assert made == OllamaProvider(url="http://127.0.0.1:11434", model="llama", keep_alive="5m")


LONG = VideoRequest(prompt="boat", seed=7, num_frames=300, width=64, height=64, enhance_prompt=True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("given", "answers", "prompt", "chunk_prompts", "notices"),
    [
        ((), ["a boat sails", "it turns", "it sinks"], "a boat sails", ["it turns", "it sinks"], 0),
        # Those of the caller stay.
        (("", "the end"), ["a boat sails", "it turns"], "a boat sails", ["it turns", "the end"], 0),
        ((), [500], "boat", ["", ""], 1),
        ((), ["a boat sails", "it turns", 500], "a boat sails", ["it turns", ""], 1),
    ],
    ids=["all", "some", "none", "until it fails"],
)
async def test_prompts_of_a_long_video(
    ollama: FakeOllama,
    store: JobStore,
    project: str,
    given: tuple[str, ...],
    answers: list[Any],
    prompt: str,
    chunk_prompts: list[str],
    notices: int,
) -> None:
    ollama.answers = [answer if isinstance(answer, int) else said(answer) for answer in answers]
    new = NewJob(kind=JobKind.VIDEO, subject=Subject(project_id=project), parameters={})
    job, _ = store.submit(new, service="video", worker_address="127.0.0.1:1")
    begun, _ = store.begin_attempt(job.id)
    speeds = StageSpeeds()
    feed = JobFeed(store, asyncio.get_running_loop())
    run = JobRun(job=begun, store=store, feed=feed, signals=Signals(), speeds=speeds)
    request = replace(LONG, chunk_prompts=given)
    plan = plan_video(request, "distilled")
    assert len(plan.chunks) == 3
    provider = OllamaProvider(url=ollama.url, model="llama")
    observer = JobObserver(run, [], speeds, lambda: None)
    written = await asyncio.to_thread(write_prompts, provider, run, request, plan, observer, None)
    assert (written["prompt"], written["chunk_prompts"]) == (prompt, chunk_prompts)
    events = [event.body for event in store.events(job.id)]
    told = [event for event in events if isinstance(event, PromptEnhanced)]
    assert [(event.prompt, event.provider) for event in told] == ([(prompt, "ollama")] if prompt != "boat" else [])
    failed = [event.code for event in events if isinstance(event, Notice)]
    assert failed == ["PROMPT_PROVIDER_FAILED"] * notices
    # Before the lease is asked for.
    assert ollama.asked[-1][0] == "/api/generate"
    planned = with_prompts_of(plan, replace(request, prompt=prompt, chunk_prompts=tuple(chunk_prompts)))
    assert [chunk.prompt for chunk in planned.chunks] == [prompt, *(text or prompt for text in chunk_prompts)]
