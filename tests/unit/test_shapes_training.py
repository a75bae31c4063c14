"""Training on the toy world: resumed runs end where whole ones do, and caches give back what was encoded."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_shapes import shards
from milimo_shapes.autoencoder_training import psnr, reconstruction_losses
from milimo_shapes.batches import Form, draw_batch
from milimo_shapes.checkpoints import load_state, save_state
from milimo_shapes.flow import add_noise, draw_levels, velocity, weight_of
from milimo_shapes.latent_cache import CLIPS, LATER, PAIRS, STILLS, Kind, LatentCache, clip_of, write_cache
from milimo_shapes.rendering import Canvas, draw
from milimo_shapes.sampling import random_scene, stage_scene
from milimo_shapes.scene import Motion, Size
from milimo_shapes.still_convolution import speed_up_stills
from milimo_shapes.training import Run, train
from milimo_shapes.video_autoencoder import (
    LATENT_CHANNELS,
    SPATIAL_COMPRESSION,
    TEMPORAL_COMPRESSION,
    build_video_autoencoder,
)
from milimo_video.sigmas import DISTILLED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from milimo_shapes.latent_cache import Clip

_CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    torch.manual_seed(0)
    model = build_video_autoencoder().eval()
    model.latents_mean.normal_()
    return model


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A component that learns to double a number."""

    name: str = "line"
    steps: int = 60
    learning_rate: float = 0.05
    muon: str | None = None
    evaluate_every: int = 20

    def build(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def losses(self, model: torch.nn.Module, seed: int, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        x = torch.randn(8, 1)
        return {"loss": (model(x) - 2 * x).square().mean()}

    def evaluate(self, model: torch.nn.Module, device: torch.device, pictures: Path) -> dict[str, float]:
        return {"off": float((model(torch.ones(1)) - 2).abs())}

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(model.state_dict(), folder / "line.pt")


def test_a_run_that_is_interrupted_ends_where_a_whole_one_does(tmp_path: Path) -> None:
    assert train(_Line(), Run(out=tmp_path / "whole", seed=1, seconds=100), _CPU) == 60
    # The clock is read once at the beginning and once before each step, among others: time is over after some.
    ticks = iter(range(10_000))
    cut = tmp_path / "cut"
    done = train(_Line(), Run(out=cut, seed=1, seconds=30), _CPU, clock=lambda: float(next(ticks)))
    assert 5 < done < 60
    assert train(_Line(), Run(out=cut, seed=1, seconds=100), _CPU) == 60
    whole, parts = (torch.load(tmp_path / run / "weights" / "line.pt", weights_only=True) for run in ("whole", "cut"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with (cut / "held_out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [20, 40, 60]
    assert float(rows[-1]["off"]) < float(rows[0]["off"])


def test_a_state_with_tied_weights_comes_back(tmp_path: Path) -> None:
    def tied() -> torch.nn.Module:
        pair = torch.nn.ModuleDict({"read": torch.nn.Linear(3, 3), "write": torch.nn.Linear(3, 3)})
        pair["write"].weight = pair["read"].weight
        return pair

    model, again = tied(), tied()
    optimizer, other = (torch.optim.AdamW(each.parameters(), lr=0.1) for each in (model, again))
    model["write"](torch.ones(3)).sum().backward()  # type: ignore[index]
    optimizer.step()
    assert load_state(tmp_path / "state", again, again, other) is None
    save_state(tmp_path / "state", model, model, optimizer, {"step": 1})
    save_state(tmp_path / "state", model, model, optimizer, {"step": 2})
    assert load_state(tmp_path / "state", again, again, other) == {"step": 2}
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    (moments,) = (state["exp_avg"] for key, state in other.state_dict()["state"].items() if key == 0)
    assert torch.equal(moments, optimizer.state_dict()["state"][0]["exp_avg"])


def test_batches_repeat_and_cover_what_they_show() -> None:
    form = Form(clips=3, frames=2, width=64, height=32)
    batch, again = draw_batch(5, 2, form), draw_batch(5, 2, form)
    assert batch.pixels.shape == (3, 3, 2, 32, 64)
    assert batch.coverage.shape == (3, 1, 2, 32, 64)
    assert torch.equal(batch.pixels, again.pixels)
    assert not torch.equal(batch.pixels, draw_batch(5, 3, form).pixels)
    assert -1.0 <= float(batch.pixels.min()) < float(batch.pixels.max()) <= 1.0


def test_the_autoencoder_has_its_compression(autoencoder: Any) -> None:
    with torch.no_grad():
        latents = autoencoder.encode(torch.zeros(1, 3, 17, 64, 128)).latent_dist.mode()
        decoded = autoencoder.decode(latents, return_dict=False)[0]
    assert latents.shape == (1, LATENT_CHANNELS, 1 + 16 // TEMPORAL_COMPRESSION, 4, 8)
    assert latents.shape[-1] * SPATIAL_COMPRESSION == 128
    assert decoded.shape == (1, 3, 17, 64, 128)


@pytest.mark.parametrize("frames", [1, 9])
def test_faster_convolutions_give_the_same(frames: int) -> None:
    torch.manual_seed(1)
    plain, fast = build_video_autoencoder(), build_video_autoencoder()
    fast.load_state_dict(plain.state_dict())
    speed_up_stills(fast)
    pixels = draw_batch(0, 0, Form(clips=1, frames=frames, width=64, height=64)).pixels
    with torch.no_grad():
        ours, theirs = ((each.encode(pixels).latent_dist.mode(), each) for each in (fast, plain))
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            fast.decode(ours[0], return_dict=False)[0],
            plain.decode(ours[0], return_dict=False)[0],
            rtol=1e-4,
            atol=1e-4,
        )


def test_losses_are_least_for_the_picture_itself() -> None:
    batch = draw_batch(1, 0, Form(clips=2, frames=1, width=64, height=32))
    latents = torch.zeros(1)
    right = reconstruction_losses(batch, batch.pixels, latents)["loss"]
    assert float(right) == 0.0
    bare = torch.where(batch.coverage > 0.5, -1.0, batch.pixels)
    assert float(reconstruction_losses(batch, bare, latents)["loss"]) > 0.05
    assert psnr(batch.pixels, batch.pixels + 0.02) == pytest.approx(40.0)


def test_levels_are_those_of_the_schedule_or_anywhere() -> None:
    torch.manual_seed(0)
    levels = draw_levels(4000, DISTILLED, scheduled=0.7, low=0.05, high=1.0)
    named = torch.isin(levels, torch.tensor(DISTILLED))
    assert 0.66 < float(named.float().mean()) < 0.74
    assert 0.05 <= float(levels.min()) < float(levels.max()) <= 1.0
    for sigma in DISTILLED:
        assert float((levels == sigma).float().mean()) == pytest.approx(0.7 / 8, abs=0.03)


def test_a_step_along_the_velocity_ends_at_the_clean_latents() -> None:
    clean, noise = torch.randn(2, 4, 8, 2, 2, 2)
    levels = torch.tensor([0.9, 0.4, 1.0, 0.1])
    noisy = add_noise(clean, noise, levels)
    speed = velocity(noisy, clean, levels)
    torch.testing.assert_close(speed, noise - clean, rtol=1e-4, atol=1e-4)
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[0.4])
    ended = scheduler.step(speed[1], scheduler.timesteps[0], noisy[1], return_dict=False)[0]
    torch.testing.assert_close(ended, clean[1], rtol=1e-4, atol=1e-4)


def test_clips_of_a_cache_follow_from_their_number() -> None:
    assert clip_of(0, CLIPS, 5) == clip_of(0, CLIPS, 5)
    assert clip_of(0, CLIPS, 5).scene != clip_of(0, STILLS, 5).scene
    starts = np.array([clip_of(0, LATER, number).start for number in range(200)])
    assert 0.5 < (starts == 0.0).mean() < 0.7


def test_staged_clips_begin_with_their_movement_where_it_always_begins() -> None:
    clips = [clip_of(0, CLIPS, number) for number in range(300)]
    assert {clip.start for clip in clips} == {0.0}
    alone = [clip.scene.things[0] for clip in clips if len(clip.scene.things) == 1]
    starts = {(thing.motion, thing.across, thing.down, thing.pace, thing.scale) for thing in alone}
    assert len(starts) == len(Motion)
    assert 50 < len(alone) < 280
    assert {clip_of(0, STILLS, number).scene.things[0].motion for number in range(50)} == {Motion.STILL}


@pytest.mark.parametrize("kind", [STILLS, CLIPS, PAIRS], ids=lambda kind: kind.name)
def test_twins_differ_in_one_fact(kind: Kind) -> None:
    differences = []
    for number in range(0, 240, 2):
        twins = [clip_of(0, kind, number + place) for place in range(2)]
        assert twins[0].start == twins[1].start
        one, other = (twin.scene for twin in twins)
        assert one.background == other.background
        first, second = one.things[0], other.things[0]
        assert first.colour is second.colour
        assert (first.size is second.size) or Motion.GROWING in (first.motion, second.motion)
        assert (first.shape is second.shape) != (first.motion is second.motion)
        differences.append("motion" if first.shape is second.shape else "shape")
    assert set(differences) == ({"shape", "motion"} if kind is CLIPS else {"shape"})
    assert differences.count("motion") in (0, *range(50, 95))


def test_two_staged_objects_never_touch_and_lie_as_they_did() -> None:
    random = np.random.default_rng(3)
    kept = turned = 0
    for _ in range(120):
        scene = random_scene(random, pairs=1.0)
        staged = stage_scene(scene)
        if len(scene.things) < 2 or len(staged.things) < 2:
            continue
        cover = draw(staged, Canvas(width=256, height=128, frames=11, fps=2.0)).coverage
        assert not ((cover[0] > 0) & (cover[1] > 0)).any()
        before, after = (draw(each, Canvas(width=256, height=128)).centres[:, 0] for each in (scene, staged))
        axis = int(np.abs(before[0] - before[1]).argmax())
        kept += bool((before[0] - before[1])[axis] * (after[0] - after[1])[axis] > 0)
        turned += bool((before[0] - before[1])[axis] * (after[0] - after[1])[axis] <= 0)
    assert kept > 4 * turned
    assert kept > 60


def test_a_cache_gives_back_what_was_encoded(tmp_path: Path, autoencoder: Any) -> None:
    def write(seconds: float) -> int:
        return write_cache(tmp_path, autoencoder, STILLS, seed=3, clips=32, seconds=seconds, device=_CPU)

    assert write(0.0) == 0
    with pytest.raises(FileNotFoundError, match="stills"):
        LatentCache(tmp_path).shard(STILLS, 0)
    assert write(600.0) == 32
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("stills-*")}
    assert len(stamps) == 2
    assert write(600.0) == 32
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.glob("stills-*")}

    cache = LatentCache(tmp_path)
    assert (cache.size(STILLS), cache.size(CLIPS)) == (2, 0)
    shard = cache.shard(STILLS, 3)
    assert shard.clips[2] == clip_of(3, STILLS, 18)
    assert {name: tuple(each.shape) for name, each in shard.latents.items()} == {
        "half": (16, LATENT_CHANNELS, 1, 4, 8),
        "full": (16, LATENT_CHANNELS, 1, 8, 16),
    }
    drawn = cache.draw(STILLS, "half", 32, np.random.default_rng(0))
    assert sorted(map(str, drawn.clips)) == sorted(str(clip_of(3, STILLS, number)) for number in range(32))
    assert torch.equal(drawn.latents["half"][drawn.clips.index(shard.clips[2])], shard.latents["half"][2])
    pairs = cache.draw(STILLS, "half", 6, np.random.default_rng(1)).clips
    numbers = [[clip_of(3, STILLS, number) for number in range(32)].index(clip) for clip in pairs]
    assert numbers[1::2] == [number + 1 for number in numbers[::2]]
    assert all(number % 2 == 0 for number in numbers[::2])
    frames = draw(shard.clips[2].scene, Canvas(width=128, height=64, start=shard.clips[2].start)).frames
    pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
    with torch.no_grad():
        encoded = autoencoder.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(cache.restore(shard.latents["half"][2:3]), encoded, rtol=5e-3, atol=5e-3)

    autoencoder.latents_std.mul_(2.0)
    assert write(0.0) == 0
    assert LatentCache(tmp_path).size(STILLS) == 0


def test_small_objects_are_drawn_more_often_the_faster_they_move(tmp_path: Path) -> None:
    shards.open_folder(tmp_path, {name: torch.ones(1) for name in ("mean", "std")})

    def encode(numbers: range) -> dict[str, torch.Tensor]:
        latents = torch.zeros(len(numbers), 1, 1, 1, 1)
        return {"half": latents, "key_half": latents.clone(), "numbers": torch.tensor(list(numbers))}

    shards.fill(tmp_path, LATER.name, encode, seed=1, count=64, each=16, seconds=60.0)
    cache, random = LatentCache(tmp_path), np.random.default_rng(0)

    def shares(clips: Iterable[Clip]) -> list[float]:
        """Of small objects that move sideways, of small ones that move otherwise, and of all else."""
        things = [clip.scene.things[0] for clip in clips]
        moving = [each.motion for each in things if each.size is Size.SMALL and each.motion is not Motion.STILL]
        fast = sum(motion in (Motion.LEFT, Motion.RIGHT) for motion in moving)
        return [count / len(things) for count in (fast, len(moving) - fast, len(things) - len(moving))]

    there = np.array(shares(clip_of(1, LATER, number) for number in range(64))) * [6.0, 3.0, 1.0]
    drawn = shares(cache.draw(LATER, "half", 1, random).clips[0] for _ in range(600))
    # Six and three times as often, one of a shard at a time.
    np.testing.assert_allclose(drawn, there / there.sum(), atol=0.06)


def test_what_goes_on_from_a_frame_moves_as_words_make_it_move() -> None:
    def paces(*kinds: Kind) -> dict[Motion, set[float]]:
        clips = [clip_of(0, kind, number) for kind in kinds for number in range(100)]
        things = [thing for clip in clips for thing in clip.scene.things]
        return {motion: {thing.pace for thing in things if thing.motion is motion} for motion in Motion}

    assert paces(LATER, PAIRS) == paces(CLIPS)
    assert {len(each) for each in paces(CLIPS).values()} == {1}


def test_errors_count_as_they_do_with_a_spread_of_one() -> None:
    levels = torch.tensor([1.0, 0.7, 0.2])
    clean, noise, off = torch.randn(3, 3, 64)

    def error(spread: float, at: torch.Tensor) -> torch.Tensor:
        """Of the velocity at these levels, when what is clean is taken for something that is a tenth off."""
        noisy = add_noise(spread * clean, noise, at)
        guessed = velocity(noisy, spread * (clean + 0.1 * off), at)
        return (guessed - velocity(noisy, spread * clean, at)).square().mean(dim=1)

    assert torch.equal(weight_of(levels, 1.0), torch.ones(3))
    torch.testing.assert_close(
        weight_of(levels, 3.0) * error(3.0, levels), error(1.0, levels / (levels + 3.0 * (1.0 - levels)))
    )
