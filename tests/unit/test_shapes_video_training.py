"""What the video transformer learns from: pictures, clips that are begun or continued, keyframes, both sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_shapes.latent_cache import CLIPS, KEYFRAMES, PAIRS, STILLS, Kind, Shard, clip_of
from milimo_shapes.video_training import VideoTransformer, load_tokenizer
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path

_CPU = torch.device("cpu")


class _Cache:
    """A cache of one shard of noise, of four clips with few frames."""

    def __init__(self, kind: Kind, start: float = 0.0) -> None:
        torch.manual_seed(4)
        frames = 1 if kind is STILLS else 3
        clips = [replace(clip_of(0, kind, number), start=start) for number in range(16)]
        sizes = {"half": (4, 8), "full": (8, 16)} if kind.has_full else {"half": (4, 8)}
        self._shard = Shard(
            clips=tuple(clips),
            latents={name: torch.randn(16, 32, frames, *size) for name, size in sizes.items()},
            keyframes={name: torch.randn(16, 32, len(KEYFRAMES), *size) for name, size in sizes.items()},
        )

    def shard(self, kind: Kind, index: int) -> Shard:
        return self._shard

    def size(self, kind: Kind) -> int:
        return 1


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return VideoTransformer(cache=_Cache(STILLS), tokenizer=None).build()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer()


@pytest.fixture
def calls(model: Any) -> Any:
    """The keyword arguments of each forward pass of the transformer."""
    seen: list[dict[str, Any]] = []
    hook = model.transformer.register_forward_pre_hook(lambda _, args, given: seen.append(given), with_kwargs=True)
    yield seen
    hook.remove()


def _loss(model: Any, tokenizer: Any, kind: Kind, size: str, *, seed: int, start: float = 0.0) -> torch.Tensor:
    cache: Any = _Cache(kind, start)
    component = VideoTransformer(cache=cache, tokenizer=tokenizer)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    losses = component._loss(model, cache.shard(kind, 0), np.arange(2), kind, size, random, _CPU)
    return losses["loss"]


def test_gradients_reach_what_learns_and_nothing_else(model: Any, tokenizer: Any) -> None:
    model.zero_grad()
    _loss(model, tokenizer, STILLS, "half", seed=0).backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert touched == learning
    for part in ("text_encoder.model.language_model.embed_tokens", "connectors.text_proj_in", "transformer.proj_in"):
        assert any(name.startswith(part) for name in touched), part
    assert not any("audio" in name or "vision" in name for name in touched)


@pytest.mark.parametrize(("kind", "size", "tokens"), [(STILLS, "full", 128), (CLIPS, "half", 96), (PAIRS, "full", 384)])
def test_every_kind_is_learned_from(
    model: Any, tokenizer: Any, calls: list[dict[str, Any]], kind: Kind, size: str, tokens: int
) -> None:
    with torch.no_grad():
        assert torch.isfinite(_loss(model, tokenizer, kind, size, seed=3))
    assert calls[0]["hidden_states"].shape[1] in (tokens, tokens + tokens // 3, tokens + 2 * tokens // 3)
    levels = calls[0]["sigma"] / 1000
    assert bool(((levels > 0) & (levels <= 1)).all())


def test_what_begins_late_is_only_ever_continued(model: Any, tokenizer: Any, calls: list[dict[str, Any]]) -> None:
    with torch.no_grad():
        for seed in range(6):
            _loss(model, tokenizer, CLIPS, "half", seed=seed, start=1.0)
    for given in calls:
        timesteps = given["timestep"]
        assert timesteps.shape == (2, 96)
        # The first latent, or all three and more, are clean.
        assert bool((timesteps[:, :32] == 0).all())


def test_keyframes_are_further_tokens_at_their_time(model: Any, tokenizer: Any, calls: list[dict[str, Any]]) -> None:
    with torch.no_grad():
        for seed in range(40):
            _loss(model, tokenizer, CLIPS, "half", seed=seed)
            if calls[-1]["hidden_states"].shape[1] > 96:
                break
    given = calls[-1]
    added = given["hidden_states"].shape[1] - 96
    assert added in (32, 64)
    assert bool((given["timestep"][:, 96:] == 0).all())
    assert bool((given["timestep"][:, :96] > 0).all())
    times = given["video_coords"][0, 0, 96:]
    assert {round(float(time) * 25) for time in times[:, 0]} <= set(KEYFRAMES)
    assert torch.allclose(times[:, 1] - times[:, 0], torch.tensor(1 / 25))


def test_the_trained_parts_are_written_as_the_service_loads_them(tmp_path: Path, model: Any) -> None:
    VideoTransformer(cache=_Cache(STILLS), tokenizer=None).save(model, tmp_path)  # type: ignore[arg-type]
    weights = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(weights["proj_in.weight"], model.transformer.proj_in.weight)
    assert {path.name for path in tmp_path.iterdir()} == {"transformer", "connectors", "text_encoder"}
