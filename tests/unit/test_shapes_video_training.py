"""What the video transformer learns from: pictures, clips that are begun or continued, keyframes, both sizes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from milimo_shapes.latent_cache import KEYFRAMES, STILLS, Kind, Shard, clip_of
from milimo_shapes.text_training import TextModel, load_tokenizer
from milimo_shapes.video_training import Seen, VideoTransformer
from milimo_shapes.windows import (
    CONTINUED,
    LARGE_PICTURES,
    PICTURES,
    PIECES,
    SCATTERED,
    WHOLE_CLIPS,
    Turn,
    Window,
    draw_window,
)
from milimo_video.sigmas import DISTILLED, DISTILLED_STAGE_2
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path

_CPU = torch.device("cpu")


class _Cache:
    """A cache of noise, of sixteen clips with few frames."""

    def __init__(self, kind: Kind) -> None:
        torch.manual_seed(4)
        frames = 1 if kind is STILLS else 10
        clips = [clip_of(0, kind, number) for number in range(16)]
        sizes = {"half": (4, 8), "full": (8, 16)} if kind.has_full else {"half": (4, 8)}
        self._shard = Shard(
            clips=tuple(clips),
            latents={name: torch.randn(16, 32, frames, *size) for name, size in sizes.items()},
            keyframes={name: torch.randn(16, 32, len(KEYFRAMES), *size) for name, size in sizes.items()},
        )

    def draw(self, kind: Kind, size: str, count: int, random: np.random.Generator) -> Shard:
        latents = {name: self._shard.latents[name][:count] for name in (size, "half")}
        keyframes = self._shard.keyframes[size][:count]
        return Shard(clips=self._shard.clips[:count], latents=latents, keyframes={size: keyframes})

    def restore(self, latents: torch.Tensor) -> torch.Tensor:
        return 2.0 * latents

    def normalise(self, latents: torch.Tensor) -> torch.Tensor:
        return latents / 2.0

    def size(self, kind: Kind) -> int:
        return 1


def _upsampler(latents: torch.Tensor) -> torch.Tensor:
    return nnf.interpolate(latents, scale_factor=(1, 2, 2))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return _component(STILLS, None).build()


@pytest.fixture(scope="module")
def text() -> Any:
    """What reads captions."""
    return SimpleNamespace(model=TextModel(), tokenizer=load_tokenizer())


@pytest.fixture
def calls(model: Any) -> Any:
    """The keyword arguments of each forward pass of the transformer."""
    seen: list[dict[str, Any]] = []
    hook = model.register_forward_pre_hook(lambda _, args, given: seen.append(given), with_kwargs=True)
    yield seen
    hook.remove()


def _component(kind: Kind, text: Any) -> VideoTransformer:
    cache: Any = _Cache(kind)
    return VideoTransformer(
        cache=cache,
        upsampler=_upsampler,
        text=text and text.model,
        tokenizer=text and text.tokenizer,
    )


def _loss(model: Any, text: Any, turn: Turn, *, seed: int) -> torch.Tensor:
    component = _component(turn.kind, text)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    losses = component.loss_of(model, replace(turn, count=4), random, _CPU)
    assert set(losses) >= {"loss", str(turn), str(PICTURES)}
    return losses["loss"]


def test_gradients_reach_what_learns_and_nothing_else(model: Any, text: Any) -> None:
    model.zero_grad()
    _loss(model, text, PICTURES, seed=0).backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert touched == learning
    assert {"proj_in.weight", "caption_projection.linear_1.weight"} < touched
    assert not any("audio" in name for name in touched)
    assert all(parameter.grad is None for parameter in text.model.parameters())


@pytest.mark.parametrize(
    ("turn", "frames", "area"),
    [(LARGE_PICTURES, 1, 128), (SCATTERED, 6, 32), (WHOLE_CLIPS, 10, 32), (CONTINUED, 10, 32), (PIECES, 5, 128)],
    ids=str,
)
def test_every_turn_is_learned_from(
    model: Any, text: Any, calls: list[dict[str, Any]], turn: Turn, frames: int, area: int
) -> None:
    with torch.no_grad():
        assert torch.isfinite(_loss(model, text, turn, seed=3))
    # Stage 1 may have made what stage 2 begins with before.
    assert calls[-1]["hidden_states"].shape[1] in {(frames + keyframes) * area for keyframes in range(3)}
    levels = calls[-1]["sigma"] / 1000
    assert bool(((levels > 0) & (levels <= 1)).all())


@pytest.mark.parametrize(
    ("turn", "stage"),
    [
        (PICTURES, DISTILLED),
        (SCATTERED, DISTILLED),
        (CONTINUED, DISTILLED),
        (LARGE_PICTURES, DISTILLED_STAGE_2),
        (PIECES, DISTILLED_STAGE_2),
    ],
    ids=str,
)
def test_stages_learn_along_their_steps(
    model: Any, text: Any, calls: list[dict[str, Any]], turn: Turn, stage: tuple[float, ...]
) -> None:
    component = _component(turn.kind, text)
    torch.manual_seed(1)
    loss = component.loss_of_steps(model, replace(turn, count=6), np.random.default_rng(1), _CPU)["loss"]
    assert float(loss.detach()) > 0.05
    loss.backward()
    # Latents that are given may have been made anew before.
    calls = calls[-len(stage) :]
    assert [len(call["sigma"]) for call in calls] == [2] * len(stage)
    np.testing.assert_allclose([float(call["sigma"][0]) / 1000 for call in calls], stage, rtol=1e-6)
    # What the steps made is what the next one sees, without a gradient through it.
    assert not any(call["hidden_states"].requires_grad for call in calls)


@pytest.mark.parametrize("turn", [PICTURES, SCATTERED, CONTINUED], ids=str)
def test_twins_see_the_same_noise(model: Any, text: Any, calls: list[dict[str, Any]], turn: Turn) -> None:
    with torch.no_grad():
        for seed in range(8):
            _loss(model, text, turn, seed=seed)
    apart = []
    for call in calls:
        levels, noisy = call["sigma"] / 1000, call["hidden_states"]
        is_open = (call["timestep"] > 0).expand(noisy.shape[:2]).all(dim=0)
        assert turn is CONTINUED or torch.equal(levels[0::2], levels[1::2])
        # Of what is almost pure noise.
        loud = [pair for pair in range(0, len(levels), 2) if bool((levels[pair : pair + 2] > 0.95).all())]
        apart += [float((noisy[pair] - noisy[pair + 1])[is_open].std()) for pair in loud]
    assert apart
    assert min(apart) > 1.2 if turn is CONTINUED else max(apart) < 0.2


def test_what_twins_differ_in_counts_more() -> None:
    clean = torch.zeros(2, 3, 1, 2, 2)
    levels, zero = torch.ones(2), torch.zeros(2, 4)

    def loss(said: torch.Tensor, *, group: int) -> float:
        words = (torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))
        seen = Seen(
            clean=clean,
            given=clean,
            half=clean,
            window=Window(frames=(0,), given=(0, 0)),
            noise=clean,
            is_given=zero,
            keyframes=None,
            coords=zero,
            words=words,
            group=group,
        )
        return float(seen.loss(said, clean, levels))

    alike = torch.ones(2, 4, 3)
    apart = torch.tensor([1.0, -1.0])[:, None, None] * alike
    assert loss(alike, group=2) == pytest.approx(loss(alike, group=1))
    assert loss(alike, group=1) == pytest.approx(loss(apart, group=1))
    # The difference is 2, its square 4, of one pair for two clips, five times.
    assert loss(apart, group=2) == pytest.approx(11.0 * loss(apart, group=1))


def test_stage_2_learns_from_enlarged_latents(model: Any, text: Any, calls: list[dict[str, Any]]) -> None:
    component, cache = _component(PIECES.kind, text), _Cache(PIECES.kind)
    enlarged = _upsampler(cache.draw(PIECES.kind, "full", 3, np.random.default_rng(0)).latents["half"])

    def likeness(seed: int) -> float | None:
        """Of what the transformer sees at the least noise with enlarged latents; None where some are given clean."""
        torch.manual_seed(seed)
        with torch.no_grad():
            component.loss_of(model, PIECES, np.random.default_rng(seed), _CPU)
        if bool((calls[-1]["timestep"] == 0).any()):
            return None
        seen = calls[-1]["hidden_states"]
        # Latents begin at frames 0, 1, 9, 17, …
        begins = calls[-1]["video_coords"][0, 0, ::128, 0] * 25
        frames = [round((float(begin) + 7) / 8) for begin in begins]
        tokens = enlarged[:, :, frames].flatten(2).transpose(1, 2)
        least = int(calls[-1]["sigma"].argmin())
        return float(torch.corrcoef(torch.stack([seen[least].flatten(), tokens[least].flatten()]))[0, 1])

    found = [value for value in map(likeness, range(30)) if value is not None]
    assert len(found) > 5
    assert max(found) > 0.5
    assert min(found) < 0.1


def test_stage_2_begins_with_what_the_last_steps_of_stage_1_make(
    model: Any, text: Any, calls: list[dict[str, Any]]
) -> None:
    component, begun = _component(PIECES.kind, text), set()
    for seed in range(6):
        calls.clear()
        with torch.no_grad():
            component.loss_of_steps(model, PIECES, np.random.default_rng(seed), _CPU)
        stage_1 = [call for call in calls if call["hidden_states"].shape[1] == 10 * 32]
        levels = tuple(float(call["sigma"][0]) / 1000 for call in stage_1)
        assert levels == pytest.approx(DISTILLED[-len(levels) :] if levels else ())
        begun.add(len(levels))
        if calls[-1]["hidden_states"].shape[1] == 5 * 128:
            # At most the first latent is given: to both stages.
            assert len({_given_latents(call, area=32) for call in stage_1} | {_given_latents(calls[-1], area=128)}) == 1
    assert {0, 3} < begun <= set(range(4))


def _given_latents(call: dict[str, Any], *, area: int) -> int:
    timestep = call["timestep"][0].expand(call["hidden_states"].shape[1])
    return int((timestep == 0).sum()) // area


def test_what_begins_anywhere_is_only_ever_continued(model: Any, text: Any, calls: list[dict[str, Any]]) -> None:
    for seed in range(4):
        with torch.no_grad():
            _loss(model, text, CONTINUED, seed=seed)
        timestep = calls[-1]["timestep"]
        # At least the first latent is clean.
        assert timestep.shape[1] >= 10 * 32
        assert bool((timestep[:, :32] == 0).all())


def test_chunks_go_on_from_what_was_made(model: Any, text: Any, calls: list[dict[str, Any]]) -> None:
    component = _component(CONTINUED.kind, text)
    clean = component.cache.draw(CONTINUED.kind, "half", 4, np.random.default_rng(0)).latents["half"][:, :, 0]
    exact: dict[bool, set[bool]] = {True: set(), False: set()}
    with torch.no_grad():
        for seed in range(8):
            _loss(model, text, CONTINUED, seed=seed)
            timestep, tokens = calls[-1]["timestep"], calls[-1]["hidden_states"]
            if calls[-1]["video_coords"][0, 0, 0, 0] > 0 or timestep.shape[1] != 10 * 32:
                continue
            for clip in range(4):
                is_chunk = bool((timestep[clip, : 4 * 32] == 0).all())
                first = clean[clip].flatten(1).transpose(0, 1)
                exact[is_chunk].add(bool(torch.equal(tokens[clip, :32], first)))
    assert exact == {True: {True, False}, False: {True}}


@pytest.mark.parametrize("turn", [SCATTERED, WHOLE_CLIPS, CONTINUED], ids=str)
def test_what_is_seen_of_clips(turn: Turn) -> None:
    windows = [draw_window(turn, 4, 16, np.random.default_rng(seed)) for seed in range(200)]
    for window in windows:
        assert len(window.frames) <= turn.frames
        _assert_given_without_a_gap(window)
    chained = [window for window in windows if window.earlier]
    assert 5 < len(chained) < 40
    assert {window.given for window in chained} == {(4, 4, 4, 4)}
    assert {window.frames[0] - window.earlier for window in chained} == {0}
    assert not any(window.keyframes() for window in chained)
    others = [window for window in windows if not window.earlier]
    assert {window.frames[0] for window in others} == {0}
    assert {frame for window in others for frame in window.frames} == set(range(16))
    nothing_given = sum(window.given[0] == 0 for window in windows)
    assert nothing_given == 0 if turn is CONTINUED else 100 < nothing_given < 180


def test_pieces_lie_anywhere_behind_what_is_given() -> None:
    windows = [draw_window(PIECES, 2, 16, np.random.default_rng(seed)) for seed in range(400)]
    lengths = {0: 5, 1: 4, 4: 3}
    for window in windows:
        _assert_given_without_a_gap(window)
        given, other = window.given
        assert given == other
        piece = window.frames[given:]
        assert piece == tuple(range(piece[0], piece[0] + lengths[given]))
        assert given == 4 or not window.earlier
    for given, least in ((0, 140), (1, 100), (4, 50)):
        alike = [window for window in windows if window.given[0] == given]
        assert len(alike) > least
        assert {frame for window in alike for frame in window.frames} == set(range(16))
    goes_on = [window.earlier > 0 for window in windows if window.given[0] == 4]
    assert 0.3 < sum(goes_on) / len(goes_on) < 0.7


def _assert_given_without_a_gap(window: Window) -> None:
    assert tuple(sorted(set(window.frames))) == window.frames
    assert max(window.frames) < 16
    given = max(window.given)
    assert given < len(window.frames)
    assert window.frames[:given] == tuple(range(window.earlier, window.earlier + given))


def test_keyframes_lie_in_what_is_seen() -> None:
    def seen(*frames: int, earlier: int = 0) -> list[int]:
        window = Window(frames=frames, given=(), earlier=earlier)
        return [KEYFRAMES[index] for index in window.keyframes()]

    assert seen(*range(16)) == [0, 40, 80, 120]
    assert (seen(0, 4), seen(0, 5), seen(5, 9), seen(6, 10), seen(11, 15)) == ([0], [0, 40], [40], [80], [120])
    assert seen(2, 10, earlier=2) == []


def test_keyframes_are_further_tokens_at_their_time(model: Any, text: Any, calls: list[dict[str, Any]]) -> None:
    with torch.no_grad():
        for seed in range(40):
            _loss(model, text, WHOLE_CLIPS, seed=seed)
            if calls[-1]["hidden_states"].shape[1] > 10 * 32:
                break
    given, made = calls[-1], 10 * 32
    assert given["hidden_states"].shape[1] - made in (32, 64)
    assert bool((given["timestep"][:, made:] == 0).all())
    assert bool((given["timestep"][:, 4 * 32 : made] > 0).all())
    times = given["video_coords"][0, 0, made:]
    assert {round(float(time) * 25) for time in times[:, 0]} <= set(KEYFRAMES)
    assert torch.allclose(times[:, 1] - times[:, 0], torch.tensor(1 / 25))


def test_the_transformer_is_written_as_the_service_loads_it(tmp_path: Path, model: Any) -> None:
    _component(STILLS, None).save(model, tmp_path)
    weights = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(weights["proj_in.weight"], model.proj_in.weight)
    assert {path.name for path in tmp_path.iterdir()} == {"transformer"}
