"""The video engine on a tiny checkpoint, beside the diffusers pipelines called by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from milimo_runtime.device import device_plan
from milimo_runtime.errors import InvalidArgument, ModelMissing, Unimplemented
from milimo_runtime.observer import JobCancelled, Silent
from milimo_tiny.ltx2 import write_ltx2
from milimo_video.decode import Tiling, decode_audio, decode_video
from milimo_video.engine import VideoResult, generate, make_latents
from milimo_video.models import WEIGHT_FOLDERS, VideoModels, load_models
from milimo_video.parameters import read_parameters
from milimo_video.plan import plan_video
from milimo_video.preview import fit_colour_map, render_preview
from milimo_video.request import Condition, Lora, PipelineOverride, VideoRequest
from milimo_video.text import PromptCache
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SMALL = VideoRequest(prompt="a red ball rolls over the grass", seed=11, width=128, height=64, num_frames=17)
START = Condition(asset_id="start", kind="image")

# Every argument that LTX-2.0 needs and the pipelines would otherwise set for a later version.
UNGUIDED = {
    "guidance_scale": 1.0,
    "stg_scale": 0.0,
    "modality_scale": 1.0,
    "guidance_rescale": 0.0,
    "audio_guidance_scale": 1.0,
    "audio_stg_scale": 0.0,
    "audio_modality_scale": 1.0,
    "audio_guidance_rescale": 0.0,
    "spatio_temporal_guidance_blocks": [29],
    "use_cross_timestep": False,
    "return_dict": False,
}
STAGE_1 = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
STAGE_2 = [0.909375, 0.725, 0.421875]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "ltx2"
    write_ltx2(path)
    return path


@pytest.fixture(scope="module")
def models(root: Path) -> VideoModels:
    return load_models(root, name="ltx2-tiny", checkpoint="distilled", devices=device_plan("cpu"))


@pytest.fixture
def forwards(models: VideoModels) -> Iterator[list[int]]:
    """Tokens of each forward pass of the transformer, as they happen."""
    seen: list[int] = []
    transformer = models.text_to_video.transformer
    hook = transformer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["hidden_states"].shape[1]), with_kwargs=True
    )
    yield seen
    hook.remove()


@dataclass
class Recorder(Silent):
    """Writes down what the engine reports, and cancels after a number of steps."""

    cancel_after: int | None = None
    stages: list[tuple[str, int]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    previews: list[Image.Image] = field(default_factory=list)

    def begin(self, stage: str, steps: int) -> None:
        self.stages.append((stage, steps))
        self.done.append(0)

    def advance(self, steps: int = 1) -> None:
        self.done[-1] += steps
        if self.cancel_after is not None and sum(self.done) >= self.cancel_after:
            raise JobCancelled

    def preview(self, render: Callable[[], Image.Image]) -> None:
        self.previews.append(render())


def picture(seed: int = 0, size: tuple[int, int] = (160, 90)) -> Image.Image:
    """A smooth colourful image."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def run(
    models: VideoModels,
    request: VideoRequest,
    path: Path,
    *,
    observer: Silent | None = None,
    prompts: PromptCache | None = None,
    tiling: Tiling | None = None,
) -> VideoResult:
    return generate(
        models,
        request,
        plan_video(request, "distilled"),
        {"start": picture()},
        observer or Silent(),
        path,
        prompts=PromptCache(0) if prompts is None else prompts,
        tiling=tiling or Tiling(),
    )


def frames_of(models: VideoModels, request: VideoRequest) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the engine would encode: frames at the model's size, and sound."""
    plan = plan_video(request, "distilled")
    latents = make_latents(models, request, plan, {"start": picture()}, Silent(), PromptCache(0))
    frames = np.concatenate(list(decode_video(models, latents.video, Tiling())))
    return frames, decode_audio(models, latents.audio, plan.audio_samples)


def by_hand(root: Path, request: VideoRequest) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The same with nothing but diffusers: its own loading, both stages, its own decoding."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        LTX2ConditionPipeline,
        LTX2LatentUpsamplePipeline,
        LTX2Pipeline,
    )
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from diffusers.pipelines.ltx2.pipeline_ltx2_condition import LTX2VideoCondition

    pipe: Any = LTX2Pipeline.from_pretrained(root)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None
    )
    upsampler = LTX2LatentUpsamplerModel.from_pretrained(root, subfolder="latent_upsampler")
    upsample = LTX2LatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=upsampler)
    given: dict[str, Any] = {}
    if request.conditions:
        parts = {name: part for name, part in pipe.components.items() if name not in pipe._optional_components}
        pipe = LTX2ConditionPipeline(**parts)
        given["conditions"] = [LTX2VideoCondition(frames=picture(), index=0, strength=request.conditions[0].strength)]
    pipe.set_progress_bar_config(disable=True)

    width, height, frames = request.width, request.height, request.num_frames
    generator = torch.Generator("cpu").manual_seed(request.seed)
    common = {"prompt": request.prompt, "num_frames": frames, "frame_rate": float(request.fps), "generator": generator}
    video, audio = pipe(
        **common,
        **given,
        **UNGUIDED,
        width=width // 2,
        height=height // 2,
        num_inference_steps=8,
        sigmas=STAGE_1,
        noise_scale=1.0,
        output_type="latent",
    )
    (larger,) = upsample(
        latents=video,
        width=width // 2,
        height=height // 2,
        num_frames=frames,
        output_type="latent",
        return_dict=False,
    )
    pictures, _ = pipe(
        **common,
        **given,
        **UNGUIDED,
        width=width,
        height=height,
        num_inference_steps=3,
        sigmas=STAGE_2,
        noise_scale=STAGE_2[0],
        latents=larger,
        audio_latents=audio,
        output_type="np",
    )
    with torch.no_grad():
        sound = pipe.vocoder(pipe.audio_vae.decode(audio, return_dict=False)[0])
    return (pictures[0] * 255).round().astype(np.uint8), sound[0].numpy()


def decode_file(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    "request_",
    [
        SMALL,
        replace(SMALL, width=256, height=128, num_frames=121, seed=3),
        replace(SMALL, fps=48, prompt="wide shot, rain", num_frames=33),
        replace(SMALL, conditions=(START,)),
        replace(SMALL, conditions=(replace(START, strength=0.6),)),
    ],
    ids=["small", "121 frames", "48 fps", "image", "weak image"],
)
def test_frames_and_sound_equal_those_of_diffusers(root: Path, models: VideoModels, request_: VideoRequest) -> None:
    frames, sound = frames_of(models, request_)
    wanted_frames, wanted_sound = by_hand(root, request_)
    assert frames.shape == (request_.num_frames, request_.height, request_.width, 3)
    assert np.array_equal(frames, wanted_frames)
    # The model's sound ends a little early; the rest is silence.
    heard = wanted_sound.shape[1]
    assert 0 <= sound.shape[1] - heard < 0.05 * models.audio_sample_rate
    assert np.array_equal(sound[:, :heard], wanted_sound)
    assert not sound[:, heard:].any()
    # Not a blank screen, and not silence.
    assert frames.std() > 10
    assert wanted_sound.std() > 0.01


@pytest.mark.parametrize("conditions", [(), (START,)], ids=["text", "image"])
def test_forward_passes(
    models: VideoModels, forwards: list[int], tmp_path: Path, conditions: tuple[Condition, ...]
) -> None:
    run(models, replace(SMALL, conditions=conditions), tmp_path / "video.mp4")
    half, full = 3 * 1 * 2, 3 * 2 * 4
    assert forwards == [half] * 8 + [full] * 3


@pytest.mark.parametrize("conditions", [(), (START,)], ids=["text", "image"])
def test_same_request_gives_the_same_bytes(
    models: VideoModels, tmp_path: Path, conditions: tuple[Condition, ...]
) -> None:
    request = replace(SMALL, conditions=conditions)
    prompts = PromptCache(4)
    first = run(models, request, tmp_path / "first.mp4")
    second = run(models, request, tmp_path / "second.mp4", prompts=prompts)
    cached = run(models, request, tmp_path / "cached.mp4", prompts=prompts)
    other = run(models, replace(request, seed=12), tmp_path / "other.mp4")
    assert len(prompts) == 1
    assert first.path.read_bytes() == second.path.read_bytes() == cached.path.read_bytes()
    assert first.thumbnail_path.read_bytes() == second.thumbnail_path.read_bytes()
    assert first.path.read_bytes() != other.path.read_bytes()


@pytest.mark.parametrize(
    ("width", "height", "frames", "fps"),
    [(128, 64, 17, 25), (2, 2, 2, 24), (70, 66, 10, 30), (130, 62, 28, 60), (64, 64, 121, 50)],
)
def test_result_is_exactly_as_asked(
    models: VideoModels, tmp_path: Path, width: int, height: int, frames: int, fps: int
) -> None:
    request = replace(SMALL, width=width, height=height, num_frames=frames, fps=fps)
    result = run(models, request, tmp_path / "video.mp4")
    assert (result.width, result.height, result.num_frames, result.fps) == (width, height, frames, fps)
    assert decode_file(result.path).shape == (frames, height, width, 3)
    with av.open(str(result.path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.average_rate == fps
        assert audio.duration is not None
        assert float(audio.duration * audio.time_base) == pytest.approx(frames / fps, abs=0.5 / fps)
    data = result.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with Image.open(result.thumbnail_path) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (max(1, width // 4), max(1, height // 4)))


def test_file_shows_the_frames_that_were_made(models: VideoModels, tmp_path: Path) -> None:
    request = replace(SMALL, width=120, height=60, num_frames=12)
    made, _ = frames_of(models, request)
    shown = decode_file(run(models, request, tmp_path / "video.mp4").path)

    def coarse_luma(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        # The tiny model's pictures are noise, of which 4:2:0 keeps little colour: compare brightness of 4 × 4 pixels.
        return frames.mean(axis=3).reshape(12, 15, 4, 30, 4).mean(axis=(2, 4))

    wanted = coarse_luma(made[:12, 2:62, 4:124])
    error = np.abs(coarse_luma(shown) - wanted).mean()
    for wrong in (made[1:13, 2:62, 4:124], made[:12, :60, :120], made[:12, 4:64, 8:128]):
        assert error < np.abs(coarse_luma(shown) - coarse_luma(wrong)).mean() / 2


def test_parameters_are_in_the_file(models: VideoModels, tmp_path: Path) -> None:
    request = replace(SMALL, negative_prompt="Regen ☔", conditions=(START,))
    result = run(models, request, tmp_path / "video.mp4")
    read = read_parameters(result.path)
    assert read is not None
    assert (read.prompt, read.negative_prompt, read.seed) == (request.prompt, "Regen ☔", 11)
    assert read.values == json.loads(result.parameters_json)
    assert read.values["pipeline"] == "ti2vid"
    assert read.values["conditions"] == [{"kind": "image", "frame_index": 0, "strength": 1.0}]
    # Ids differ from project to project, and would change the bytes.
    assert "start" not in result.parameters_json
    assert {"creation_time", "encoder"}.isdisjoint(av.open(str(result.path)).metadata)


def test_progress_follows_the_plan(models: VideoModels, tmp_path: Path) -> None:
    recorder = Recorder()
    run(models, SMALL, tmp_path / "video.mp4", observer=recorder)
    plan = plan_video(SMALL, "distilled")
    assert recorder.stages == [(stage.name, stage.steps) for stage in plan.stages]
    assert recorder.done == [steps for _, steps in recorder.stages]
    assert len(recorder.previews) == 8 + 3
    assert {image.size for image in recorder.previews} == {(256, 128)}


@pytest.mark.parametrize("steps", [1, 2, 6, 10, 11, 13])
def test_cancelling_stops_within_one_step(models: VideoModels, forwards: list[int], tmp_path: Path, steps: int) -> None:
    # One step each for the text and the upsampler, eight and three for the stages, then the frames.
    passes = {1: 0, 2: 1, 6: 5, 10: 8, 11: 9, 13: 11}
    with pytest.raises(JobCancelled):
        run(models, SMALL, tmp_path / "video.mp4", observer=Recorder(cancel_after=steps))
    assert len(forwards) == passes[steps]
    assert list(tmp_path.iterdir()) == []


def test_cancelling_while_the_file_is_written_removes_it_and_the_next_job_runs(
    models: VideoModels, forwards: list[int], tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        run(models, SMALL, tmp_path / "video.mp4", observer=Recorder(cancel_after=14))
    assert len(forwards) == 11
    assert list(tmp_path.iterdir()) == []
    run(models, SMALL, tmp_path / "video.mp4")
    assert len(forwards) == 22


def test_start_image_replaces_the_first_latent(models: VideoModels) -> None:
    def first_latent(request: VideoRequest, image: Image.Image) -> torch.Tensor:
        plan = plan_video(request, "distilled")
        return make_latents(models, request, plan, {"start": image}, Silent(), PromptCache(0)).video[:, :, 0]

    kept = first_latent(replace(SMALL, conditions=(START,)), picture())
    weak = first_latent(replace(SMALL, conditions=(replace(START, strength=0.3),)), picture())
    other_seed = first_latent(replace(SMALL, seed=99, conditions=(START,)), picture())
    other_image = first_latent(replace(SMALL, conditions=(START,)), picture(seed=1))
    free = first_latent(SMALL, picture())
    torch.testing.assert_close(kept, other_seed, rtol=1e-4, atol=1e-4)
    assert (kept - other_image).abs().mean() > 100 * (kept - other_seed).abs().mean()
    assert 0.01 < (weak - kept).abs().mean() < (free - kept).abs().mean()


def test_image_is_oriented_and_compressed_before_it_is_encoded(models: VideoModels, tmp_path: Path) -> None:
    upright = picture(size=(128, 64))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    request = replace(SMALL, conditions=(START,))
    plan = plan_video(request, "distilled")
    with Image.open(tmp_path / "turned.png") as image:
        assert image.size == (64, 128)
        seen = make_latents(models, request, plan, {"start": image}, Silent(), PromptCache(0))
    wanted = make_latents(models, request, plan, {"start": upright}, Silent(), PromptCache(0))
    assert torch.equal(seen.video, wanted.video)


def test_image_without_pixels_to_encode_is_refused(models: VideoModels) -> None:
    request = replace(SMALL, conditions=(START,))
    plan = plan_video(request, "distilled")
    with pytest.raises(InvalidArgument, match=r"conditions\[0\]"):
        make_latents(models, request, plan, {"start": Image.new("RGB", (1, 40))}, Silent(), PromptCache(0))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_frames": 122},
        {"num_frames": 1},
        {"conditions": (replace(START, frame_index=8),)},
        {"conditions": (START, replace(START, frame_index=-1))},
        {"conditions": (replace(START, kind="video"),)},
        {"conditions": (START,), "pipeline_override": PipelineOverride.KEYFRAME},
        {"loras": (Lora(name="style"),)},
    ],
)
def test_what_is_planned_only_is_refused(
    models: VideoModels, forwards: list[int], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unimplemented):
        run(models, replace(SMALL, **changes), tmp_path / "video.mp4")
    assert forwards == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def distilled_lora(models: VideoModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of random weights for the tiny transformer, as diffusers saves one."""
    from diffusers import LTX2Pipeline
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, module in models.text_to_video.transformer.named_modules():
        if name.endswith(("to_q", "to_v")):
            weights[f"{name}.lora_A.weight"] = torch.randn(2, module.in_features, generator=generator) * 0.2
            weights[f"{name}.lora_B.weight"] = torch.randn(module.out_features, 2, generator=generator) * 0.2
    folder = tmp_path_factory.mktemp("loras")
    LTX2Pipeline.save_lora_weights(folder, transformer_lora_layers=weights, save_function=save_file)
    return folder / "pytorch_lora_weights.safetensors"


def test_dev_checkpoint_is_guided_in_stage_1_and_distilled_in_stage_2(
    root: Path, distilled_lora: Path, tmp_path: Path
) -> None:
    models = load_models(root, name="dev", checkpoint="dev", devices=device_plan("cpu"), distilled_lora=distilled_lora)
    transformer = models.text_to_video.transformer
    seen: list[tuple[int, int, bool]] = []
    adapted = transformer.transformer_blocks[0].attn1.to_q

    def note(_: object, args: object, kwargs: dict[str, Any]) -> None:
        batch, tokens, _ = kwargs["hidden_states"].shape
        seen.append((batch, tokens, not adapted.disable_adapters))

    transformer.register_forward_pre_hook(note, with_kwargs=True)
    request = replace(SMALL, steps=4, negative_prompt="rain")
    plan = plan_video(request, "dev")
    prompts = PromptCache(4)

    def latents(request: VideoRequest) -> torch.Tensor:
        return make_latents(models, request, plan_video(request, "dev"), {}, Silent(), prompts).video

    video = latents(request)
    # Conditional and negative together, perturbed, modalities apart; then three plain steps with the LoRA.
    assert seen == [(2, 6, False), (1, 6, False), (1, 6, False)] * 4 + [(1, 24, True)] * 3
    assert adapted.disable_adapters
    assert torch.equal(video, latents(request))
    assert not torch.equal(video, latents(replace(request, negative_prompt="")))
    generate(models, request, plan, {}, Silent(), tmp_path / "v.mp4", prompts=prompts, tiling=Tiling())
    assert len(decode_file(tmp_path / "v.mp4")) == 17


def test_dev_checkpoint_needs_its_lora(root: Path, tmp_path: Path) -> None:
    for lora in (None, tmp_path / "absent.safetensors"):
        with pytest.raises(ModelMissing, match="distilled LoRA"):
            load_models(root, name="dev", checkpoint="dev", devices=device_plan("cpu"), distilled_lora=lora)


@pytest.mark.parametrize(
    "tiles", [{"side": 500}, {"stride": 32}, {"stride": 576}, {"frames": 60}, {"frame_stride": 0}, {"frame_stride": 72}]
)
def test_tiles_off_the_grid_are_refused(tiles: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="tiles of"):
        Tiling(**tiles)


def test_tiles_in_time_are_aligned(models: VideoModels) -> None:
    """Tiles must agree with a decode in one pass, better than diffusers' own, which are a frame off."""
    request = replace(SMALL, num_frames=121)
    latents = make_latents(models, request, plan_video(request, "distilled"), {}, Silent(), PromptCache(0)).video
    tiling = Tiling(one_pass_pixels=0, side=96, stride=64, frames=32, frame_stride=16)
    whole = np.concatenate(list(decode_video(models, latents, Tiling()))).astype(float)
    pieces = list(decode_video(models, latents, replace(tiling, side=512)))
    tiled = np.concatenate(pieces).astype(float)
    assert tiled.shape == whole.shape == (121, 64, 128, 3)
    # Streamed: no piece is longer than what two neighbouring tiles settle.
    assert max(len(piece) for piece in pieces) <= 33

    vae = models.vae
    vae.use_framewise_decoding = True
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = 32, 16
    with torch.no_grad():
        theirs = vae.decode(latents, None, return_dict=False)[0]
    vae.use_framewise_decoding = False
    theirs = ((theirs[0] * 0.5 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 3, 0).numpy()
    assert np.abs(tiled - whole).mean() < np.abs(theirs - whole).mean() / 2

    in_space = np.concatenate(list(decode_video(models, latents, tiling)))
    assert in_space.shape == whole.shape


def test_tiled_result_has_all_frames(models: VideoModels, tmp_path: Path) -> None:
    request = replace(SMALL, num_frames=118)
    tiling = Tiling(one_pass_pixels=0, side=96, stride=64, frames=32, frame_stride=16)
    result = run(models, request, tmp_path / "video.mp4", tiling=tiling)
    assert len(decode_file(result.path)) == 118


def test_prompt_cache_keeps_the_last_used() -> None:
    from milimo_video.text import EncodedPrompt, EncodedText, PromptKey

    encoded = EncodedPrompt(positive=EncodedText(states=torch.zeros(1, 2, 3)), negative=None)
    a, b, c = (PromptKey(model="m", prompt=text, negative_prompt=None) for text in "abc")
    cache = PromptCache(2)
    cache.put(a, encoded)
    cache.put(b, encoded)
    assert cache.get(a) is encoded
    cache.put(c, encoded)
    assert (len(cache), cache.get(b)) == (2, None)
    cache.clear()
    assert len(cache) == 0


@pytest.mark.parametrize("colour", [(220, 40, 30), (30, 60, 200), (240, 240, 240), (20, 20, 20)])
def test_preview_shows_colours(models: VideoModels, colour: tuple[int, int, int]) -> None:
    colours = fit_colour_map(models.vae)
    pixels = (torch.tensor(colour) / 127.5 - 1).view(1, 3, 1, 1, 1).expand(-1, -1, 1, 64, 128)
    with torch.no_grad():
        latents = models.vae.encode(pixels).latent_dist.mode()
    latents = (latents - models.vae.latents_mean.view(1, -1, 1, 1, 1)) / models.vae.latents_std.view(1, -1, 1, 1, 1)
    tokens = latents.flatten(2).transpose(1, 2)
    image = render_preview(tokens, frames=1, height=2, width=4, colours=colours)
    assert image.size == (256, 128)
    assert np.abs(np.asarray(image, float).mean(axis=(0, 1)) - colour).max() < 60


def test_weights_are_counted(models: VideoModels, root: Path) -> None:
    on_disk = sum(path.stat().st_size for folder in WEIGHT_FOLDERS for path in (root / folder).glob("*.safetensors"))
    assert models.weight_bytes == pytest.approx(on_disk, rel=0.02)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="text_encoder"):
        load_models(tmp_path, name="ltx2", checkpoint="distilled", devices=device_plan("cpu"))


def test_tiny_checkpoint_depends_on_its_seed_alone(root: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    write_ltx2(tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), before)
    names = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path / "again") for path in tmp_path.rglob("*") if path.is_file())
    assert all((root / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
