"""The image engine on a tiny checkpoint, held to diffusers' own pipeline bit for bit."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_image import defaults
from milimo_image.decode import decode_image_latents
from milimo_image.engine import Caches, GeneratedImage, generate
from milimo_image.models import ImageModels, load_image_models, prompt_layers_of
from milimo_image.output import ImageMetadata, encode_image, encode_thumbnail, read_metadata
from milimo_image.plan import plan_image
from milimo_image.prompts import embed_prompt, prompt_cache
from milimo_image.references import reference_cache
from milimo_image.request import ImageFormat, ImageRequest
from milimo_runtime.device import DevicePlan, Placement, device_plan
from milimo_runtime.errors import ModelMissing
from milimo_runtime.observer import JobCancelled, Silent
from milimo_tiny.flux2 import write_flux2
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMPT = "a red circle on the left, naïve 🙂"


@pytest.fixture(scope="module")
def distilled_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("flux2")
    write_flux2(root)
    return root


@pytest.fixture(scope="module")
def base_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("flux2-base")
    write_flux2(root, seed=1, is_distilled=False)
    return root


@pytest.fixture(scope="module")
def distilled(distilled_root: Path) -> ImageModels:
    return load_image_models(distilled_root, device_plan("cpu"))


@pytest.fixture(scope="module")
def base(base_root: Path) -> ImageModels:
    return load_image_models(base_root, device_plan("cpu"))


class Recorder(Silent):
    """Records what an engine tells, and cancels when `cancel_after` steps of `cancel_in` are done."""

    def __init__(self, *, cancel_in: str = "", cancel_after: int = 0, with_previews: bool = False) -> None:
        self.events: list[tuple[str, int]] = []
        self.notices: list[str] = []
        self.previews: list[Image.Image] = []
        self.cancel_in, self.cancel_after, self.with_previews = cancel_in, cancel_after, with_previews

    def begin(self, stage: str, steps: int) -> None:
        self.events.append((stage, 0))
        assert steps >= 1

    def advance(self, steps: int = 1) -> None:
        stage, done = self.events[-1]
        self.events.append((stage, done + steps))
        if (stage, done + steps) == (self.cancel_in, self.cancel_after):
            raise JobCancelled

    def preview(self, render: Callable[[], Image.Image]) -> None:
        if self.with_previews:
            self.previews.append(render())

    def notice(self, code: str, text: str) -> None:
        self.notices.append(code)


def run(models: ImageModels, observer: Silent | None = None, **fields: Any) -> list[GeneratedImage]:
    request = ImageRequest(**{"prompt": PROMPT, "width": 128, "height": 96, "seed": 5, **fields})
    plan = plan_image(request, is_distilled=models.is_distilled, random_seed=0)
    return list(generate(models, request, plan, observer or Silent(), caches=empty_caches()))


def empty_caches() -> Caches:
    return Caches(prompts=prompt_cache(), references=reference_cache())


def reference(root: Path, *, width: int, height: int, steps: int, guidance: float, seed: int) -> Image.Image:
    """The same image by diffusers' pipeline, with all of the text encoder."""
    from diffusers import Flux2KleinPipeline

    pipeline = Flux2KleinPipeline.from_pretrained(root)
    pipeline.set_progress_bar_config(disable=True)
    image: Image.Image = pipeline(
        prompt=PROMPT,
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
        text_encoder_out_layers=(1, 2, 3),
    ).images[0]
    return image


class Forwards:
    """Counts the forward passes of modules by name while it is open."""

    def __init__(self, **modules: torch.nn.Module) -> None:
        self.counts: Counter[str] = Counter()
        self._handles = [
            module.register_forward_hook(lambda *_, name=name: self.counts.update([name]))
            for name, module in modules.items()
        ]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


@pytest.fixture
def forwards() -> Iterator[Callable[..., Forwards]]:
    opened: list[Forwards] = []

    def open_(**modules: torch.nn.Module) -> Forwards:
        opened.append(Forwards(**modules))
        return opened[-1]

    yield open_
    for counter in opened:
        counter.close()


@pytest.mark.parametrize(("width", "height"), [(128, 96), (256, 320)])
def test_equals_the_pipeline(distilled: ImageModels, distilled_root: Path, width: int, height: int) -> None:
    (made,) = run(distilled, width=width, height=height)
    expected = reference(distilled_root, width=width, height=height, steps=4, guidance=1.0, seed=5)
    assert made.image.tobytes() == expected.tobytes()


def test_equals_the_pipeline_with_guidance(base: ImageModels, base_root: Path) -> None:
    (made,) = run(base, steps=3, guidance=2.5)
    expected = reference(base_root, width=128, height=96, steps=3, guidance=2.5, seed=5)
    assert made.image.tobytes() == expected.tobytes()
    assert made.image.tobytes() != run(base, steps=3, guidance=1.0)[0].image.tobytes()


def test_the_base_checkpoint_has_its_own_defaults(
    base: ImageModels, base_root: Path, forwards: Callable[..., Forwards]
) -> None:
    counter = forwards(transformer=base.transformer)
    (made,) = run(base, width=64, height=64)
    assert counter.counts == {"transformer": 100}
    expected = reference(base_root, width=64, height=64, steps=50, guidance=4.0, seed=5)
    assert made.image.tobytes() == expected.tobytes()


def test_odd_sizes_are_the_middle_of_the_rounded_image(distilled: ImageModels, distilled_root: Path) -> None:
    (made,) = run(distilled, width=513, height=771, steps=2)
    assert made.image.size == (513, 771)
    expected = reference(distilled_root, width=528, height=784, steps=2, guidance=1.0, seed=5)
    assert made.image.tobytes() == expected.crop((7, 6, 7 + 513, 6 + 771)).tobytes()


@pytest.mark.parametrize(("steps", "count"), [(1, 1), (4, 1), (3, 2)])
def test_forwards_without_guidance(
    distilled: ImageModels, forwards: Callable[..., Forwards], steps: int, count: int
) -> None:
    counter = forwards(transformer=distilled.transformer, text=distilled.text_encoder, decoder=distilled.vae.decoder)
    run(distilled, steps=steps, count=count)
    assert counter.counts == {"transformer": steps * count, "text": 1, "decoder": count}


def test_forwards_with_guidance(base: ImageModels, forwards: Callable[..., Forwards]) -> None:
    counter = forwards(transformer=base.transformer, text=base.text_encoder)
    run(base, steps=3)
    assert counter.counts == {"transformer": 6, "text": 2}


def test_layers_past_the_last_used_one_are_not_run(
    distilled: ImageModels, distilled_root: Path, forwards: Callable[..., Forwards]
) -> None:
    from diffusers import Flux2KleinPipeline

    pipeline = Flux2KleinPipeline.from_pretrained(distilled_root)
    assert len(pipeline.text_encoder.model.layers) == 4
    layers = {f"layer{index}": layer for index, layer in enumerate(distilled.text_encoder.layers)}
    counter = forwards(**layers)
    embedding = embed_prompt(distilled, PROMPT, prompt_cache())
    assert counter.counts == {"layer0": 1, "layer1": 1, "layer2": 1}
    expected, _ = pipeline.encode_prompt(PROMPT, text_encoder_out_layers=(1, 2, 3))
    assert torch.equal(embedding.states, expected)


@pytest.mark.parametrize(
    ("layers", "hidden", "joint", "used"),
    [(36, 4096, 12288, (9, 18, 27)), (36, 2560, 7680, (9, 18, 27)), (4, 16, 48, (1, 2, 3)), (2, 16, 16, (1,))],
)
def test_prompt_layers(layers: int, hidden: int, joint: int, used: tuple[int, ...]) -> None:
    assert prompt_layers_of(num_layers=layers, hidden_size=hidden, joint_dim=joint) == used


def test_prompt_layers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="joint width of 50"):
        prompt_layers_of(num_layers=4, hidden_size=16, joint_dim=50)


def test_same_seed_same_bytes(distilled: ImageModels) -> None:
    first, again, other = run(distilled)[0], run(distilled)[0], run(distilled, seed=6)[0]
    for format_ in ImageFormat:
        assert encode_image(first.image, first.metadata, format_) == encode_image(again.image, again.metadata, format_)
    assert first.image.tobytes() != other.image.tobytes()
    assert first.image.tobytes() != run(distilled, prompt="a blue square")[0].image.tobytes()


def test_images_of_a_batch_are_those_of_their_seeds(distilled: ImageModels) -> None:
    batch = run(distilled, count=3, steps=1)
    assert [made.seed for made in batch] == [5, 6, 7]
    assert [made.index for made in batch] == [0, 1, 2]
    for made in batch:
        assert made.image.tobytes() == run(distilled, seed=made.seed, steps=1)[0].image.tobytes()


def test_a_batch_can_go_on_where_it_ended(distilled: ImageModels) -> None:
    request = ImageRequest(prompt=PROMPT, width=64, height=64, seed=5, count=3)
    plan = plan_image(request, is_distilled=True, random_seed=0)
    rest = list(generate(distilled, request, plan, Silent(), caches=empty_caches(), first=2))
    assert [(made.index, made.seed) for made in rest] == [(2, 7)]


def test_prompts_are_embedded_once(distilled: ImageModels, forwards: Callable[..., Forwards]) -> None:
    counter = forwards(text=distilled.text_encoder)
    cache = prompt_cache()
    for prompt in (PROMPT, "another", PROMPT, "another"):
        embed_prompt(distilled, prompt, cache)
    assert counter.counts == {"text": 2}
    # A cache without room forgets, and the engine goes on.
    small = prompt_cache(max_bytes=512 * 48 * 4)
    for prompt in (PROMPT, "another", PROMPT):
        embed_prompt(distilled, prompt, small)
    assert (len(small), counter.counts["text"]) == (1, 5)


def test_progress_covers_the_plan(distilled: ImageModels) -> None:
    recorder = Recorder(with_previews=True)
    run(distilled, recorder, steps=3, count=2)
    request = ImageRequest(prompt=PROMPT, width=128, height=96, seed=5, steps=3, count=2)
    stages = plan_image(request, is_distilled=True, random_seed=0).stages
    assert recorder.events == [(stage.name, step) for stage in stages for step in range(stage.steps + 1)]
    assert len(recorder.previews) == 6
    assert all(preview.size == (128, 96) for preview in recorder.previews)


def test_last_preview_of_a_large_image_resembles_it(distilled: ImageModels) -> None:
    recorder = Recorder(with_previews=True)
    (made,) = run(distilled, recorder, width=1024, height=512, steps=2)
    preview = recorder.previews[-1]
    assert preview.size == (256, 128)
    assert preview.tobytes() != recorder.previews[0].tobytes()
    # The mean colours agree: averaging latents and averaging pixels are not the same, but near each other.
    means = [np.asarray(image.resize((1, 1), Image.Resampling.BOX), dtype=float) for image in (preview, made.image)]
    assert np.abs(means[0] - means[1]).max() < 64


@pytest.mark.parametrize("step", [1, 2, 3])
def test_cancel_ends_within_the_step(distilled: ImageModels, forwards: Callable[..., Forwards], step: int) -> None:
    counter = forwards(transformer=distilled.transformer, decoder=distilled.vae.decoder)
    with pytest.raises(JobCancelled):
        run(distilled, Recorder(cancel_in="denoise", cancel_after=step))
    assert counter.counts == {"transformer": step}
    # Nothing of the cancelled run is left behind.
    assert run(distilled)[0].image.tobytes() == run(distilled)[0].image.tobytes()


def test_notices_reach_the_observer(distilled: ImageModels) -> None:
    """Those of the plan are the caller's to tell."""
    recorder = Recorder()
    fields: dict[str, Any] = {"prompt": "word " * 600, "negative_prompt": "blurry", "width": 65, "height": 64}
    request = ImageRequest(**fields, seed=5, steps=1, count=3)
    plan = plan_image(request, is_distilled=True, random_seed=0)
    assert [notice.code for notice in plan.notices] == ["SIZE_ROUNDED", "NEGATIVE_PROMPT_IGNORED"]
    caches = empty_caches()
    # As a job does it: each image is a step of its own.
    for index in range(3):
        next(generate(distilled, request, plan, recorder, caches=caches, first=index))
    assert recorder.notices == ["PROMPT_TRUNCATED"]


PICTURE = Image.new("RGB", (64, 64))


@pytest.mark.parametrize("format_", list(ImageFormat))
def test_metadata_are_in_the_file(distilled: ImageModels, format_: ImageFormat) -> None:
    (made,) = run(distilled, steps=2)
    encoded = encode_image(made.image, made.metadata, format_)
    assert read_metadata(encoded.data) == ImageMetadata(
        prompt=PROMPT,
        parameters={"seed": 5, "width": 128, "height": 96, "steps": 2, "guidance": 1.0, "autoencoder": "native"},
    )
    with Image.open(io.BytesIO(encoded.data)) as image:
        assert (image.format, image.size) == (format_.name, (128, 96))
        if format_ is ImageFormat.PNG:
            assert image.convert("RGB").tobytes() == made.image.tobytes()
        else:
            assert np.abs(np.asarray(image).astype(int) - np.asarray(made.image).astype(int)).mean() < 4


@pytest.mark.parametrize("format_", list(ImageFormat))
def test_longest_prompts_fit_into_the_file(format_: ImageFormat) -> None:
    metadata = ImageMetadata(prompt="🙂" * 10_000, parameters={"seed": 1, "negative_prompt": "🙃" * 10_000})
    read = read_metadata(encode_image(PICTURE, metadata, format_).data)
    assert read is not None
    assert read.prompt == metadata.prompt
    assert read.parameters["seed"] == 1
    assert ("negative_prompt" in read.parameters) == (format_ is ImageFormat.PNG)


def test_files_without_metadata() -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG")
    assert read_metadata(buffer.getvalue()) is None


def test_thumbnail_is_a_quarter() -> None:
    thumbnail = encode_thumbnail(Image.new("RGB", (513, 771), "red"))
    with Image.open(io.BytesIO(thumbnail.data)) as image:
        assert (image.format, image.size) == ("JPEG", (129, 193))
    assert (thumbnail.width, thumbnail.height) == (129, 193)


def test_large_images_are_decoded_in_tiles(
    distilled: ImageModels, forwards: Callable[..., Forwards], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "TILED_DECODE_ABOVE_PIXELS", 320 * 320)
    counter = forwards(decoder=distilled.vae.decoder)
    latents = torch.randn((1, 16, 21, 20), generator=torch.Generator().manual_seed(0))
    assert decode_image_latents(distilled, latents, width=320, height=336).size == (320, 336)
    assert counter.counts["decoder"] > 1
    counter.counts.clear()
    assert decode_image_latents(distilled, latents[:, :, :20], width=320, height=320).size == (320, 320)
    assert counter.counts["decoder"] == 1


def test_parts_in_different_precisions_work_together(distilled_root: Path) -> None:
    """As on devices where the text encoder runs in half precision and the rest does not."""
    half = Placement(device="cpu", dtype="bfloat16")
    devices = DevicePlan(kind="cpu", default=half, parts={"flux-2.vae": Placement(device="cpu", dtype="float32")})
    models = load_image_models(distilled_root, devices)
    assert (models.transformer.dtype, models.vae.dtype) == (torch.bfloat16, torch.float32)
    recorder = Recorder(with_previews=True)
    (made,) = run(models, recorder, steps=2)
    assert made.image.size == (128, 96)
    assert len(recorder.previews) == 2
    mixed = DevicePlan(kind="cpu", default=half, parts={"flux-2.transformer": Placement(device="cpu", dtype="float32")})
    assert run(load_image_models(distilled_root, mixed), steps=2)[0].image.size == (128, 96)


def test_weight_bytes_are_those_of_the_parts(distilled: ImageModels) -> None:
    parts = {"transformer": distilled.transformer, "vae": distilled.vae, "text_encoder": distilled.text_encoder}
    for name, module in parts.items():
        parameters = sum(parameter.nbytes for parameter in module.parameters())
        assert parameters <= distilled.weight_bytes[name] < parameters + 10_000
    assert distilled.total_bytes == sum(distilled.weight_bytes.values())


@pytest.mark.parametrize(
    "missing",
    ["model_index.json", "scheduler/scheduler_config.json", "transformer/diffusion_pytorch_model.safetensors"],
)
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write_flux2(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ModelMissing) as caught:
        load_image_models(tmp_path, device_plan("cpu"))
    assert missing.split("/", maxsplit=1)[0] in caught.value.message


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    write_flux2(tmp_path)
    weights = tmp_path / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelMissing, match="damaged"):
        load_image_models(tmp_path, device_plan("cpu"))
