"""Inpainting: diffusers' result inside the mask, and not one pixel changed outside of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_image.canvas import grown
from milimo_image.engine import GeneratedImage
from milimo_image.inpaint import inpaint
from milimo_image.output import encode_image, read_metadata
from milimo_image.plan import plan_image
from milimo_image.request import ImageFormat, ImageRequest, Inpaint, Outpaint, Reference
from milimo_runtime.observer import JobCancelled, Silent
from PIL import Image, ImageDraw

from .tiny import PROMPT, empty_caches, picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from milimo_image.models import ImageModels


class Recorder(Silent):
    """Records stages and notices, and cancels after so many advances."""

    def __init__(self, cancel_after: int = 0) -> None:
        self.stages: list[tuple[str, int]] = []
        self.notices: list[str] = []
        self.previews: list[Image.Image] = []
        self.done, self.cancel_after = 0, cancel_after

    def begin(self, stage: str, steps: int) -> None:
        self.stages.append((stage, steps))

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        if self.done == self.cancel_after:
            raise JobCancelled

    def preview(self, render: Callable[[], Image.Image]) -> None:
        self.previews.append(render())

    def notice(self, code: str, text: str) -> None:
        self.notices.append(code)


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """White in the box, which ends before its right and bottom."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def repaint(
    models: ImageModels, image: Image.Image, mask: Image.Image | None, *, observer: Silent | None = None, **fields: Any
) -> GeneratedImage:
    options = {name: fields.pop(name) for name in ("strength", "feather", "crop_padding", "outpaint") if name in fields}
    request = ImageRequest(
        **{
            "prompt": PROMPT,
            "seed": 5,
            "steps": 2,
            "inpaint": Inpaint(
                image=Reference(asset_id="image", width=image.width, height=image.height),
                mask=None if mask is None else Reference(asset_id="mask", width=mask.width, height=mask.height),
                **options,
            ),
            **fields,
        }
    )
    plan = plan_image(request, is_distilled=models.is_distilled, random_seed=0)
    return inpaint(models, request, plan, observer or Silent(), image=image, mask=mask, caches=empty_caches())


def pipeline_inpaint(root: Path, image: Image.Image, mask: Image.Image, **fields: Any) -> Image.Image:
    from diffusers import Flux2KleinInpaintPipeline

    pipeline = Flux2KleinInpaintPipeline.from_pretrained(root)
    pipeline.set_progress_bar_config(disable=True)
    made: Image.Image = pipeline(
        prompt=PROMPT,
        image=image,
        mask_image=mask,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(5),
        text_encoder_out_layers=(1, 2, 3),
        **{"strength": 1.0, "num_inference_steps": 2, **fields},
    ).images[0]
    return made


def changed(before: Image.Image, after: Image.Image) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which pixels differ, (height, width)."""
    assert before.size == after.size
    return np.asarray((np.asarray(before) != np.asarray(after)).any(axis=2))


@pytest.mark.parametrize(
    ("strength", "steps"), [(1.0, 2), (1.0, 4), (0.5, 4), (0.8, 4)], ids=["whole", "four", "half", "part"]
)
def test_equals_the_pipeline_inside_the_mask(models: ImageModels, root: Path, strength: float, steps: int) -> None:
    image, mask = picture(128, 96), box_mask((128, 96), (32, 16, 96, 80))
    made = repaint(models, image, mask, feather=0, strength=strength, steps=steps).image
    expected = pipeline_inpaint(root, image, mask, strength=strength, num_inference_steps=steps)
    box = (32, 16, 96, 80)
    assert made.crop(box).tobytes() == expected.crop(box).tobytes()


@pytest.mark.parametrize(
    "fields",
    [{}, {"feather": 0}, {"feather": 40}, {"crop_padding": 0}, {"crop_padding": 33}, {"strength": 0.5, "steps": 2}],
    ids=["defaults", "hard", "soft", "crop", "crop with padding", "half"],
)
@pytest.mark.parametrize(
    ("size", "box"),
    [((513, 771), (101, 203, 307, 402)), ((64, 64), (0, 0, 17, 64)), ((200, 70), (190, 60, 200, 70))],
    ids=["odd", "edge", "corner"],
)
def test_pixels_outside_the_mask_stay(
    models: ImageModels, size: tuple[int, int], box: tuple[int, int, int, int], fields: dict[str, Any]
) -> None:
    image, mask = picture(*size), box_mask(size, box)
    made = repaint(models, image, mask, **{"steps": 1, **fields})
    with_file = _decoded(made)
    assert with_file.tobytes() == made.image.tobytes()
    assert made.metadata.parameters.get("crop_padding") == fields.get("crop_padding")
    different = changed(image, with_file)
    masked = np.asarray(mask) > 0
    assert not different[~masked].any()
    # The middle of the mask is new, but for what happens to be equal.
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    around = different[middle[1] - 4 : middle[1] + 4, middle[0] - 4 : middle[0] + 4]
    assert around.mean() > 0.9


def _decoded(made: GeneratedImage) -> Image.Image:
    import io

    data = encode_image(made.image, made.metadata, ImageFormat.PNG).data
    found = read_metadata(data)
    assert found is not None
    assert found.parameters["inpainted"] == "image"
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def test_an_empty_mask_changes_nothing_and_runs_nothing(
    models: ImageModels, forwards: list[int], calls: Counter[str]
) -> None:
    image, recorder = picture(65, 70), Recorder()
    made = repaint(models, image, Image.new("L", image.size, 127), observer=recorder)
    assert made.image.tobytes() == image.tobytes()
    assert recorder.notices == ["MASK_EMPTY"]
    assert forwards == []
    assert not calls


def test_a_full_mask_paints_everything(models: ImageModels) -> None:
    image = picture(100, 70)
    made = repaint(models, image, Image.new("L", image.size, 255), feather=20)
    assert changed(image, made.image).mean() > 0.98


def test_masks_of_another_size_are_scaled(models: ImageModels) -> None:
    image = picture(128, 96)
    large = repaint(models, image, box_mask((256, 192), (64, 32, 192, 160)), feather=0)
    same = repaint(models, image, box_mask((128, 96), (32, 16, 96, 80)), feather=0)
    assert large.image.tobytes() == same.image.tobytes()


def test_thin_lines_are_painted(models: ImageModels) -> None:
    """Also when a feather wider than the line is asked for."""
    image, mask = picture(96, 96), Image.new("L", (96, 96))
    ImageDraw.Draw(mask).line([(5, 5), (90, 70)], fill=255, width=1)
    different = changed(image, repaint(models, image, mask, feather=30).image)
    masked = np.asarray(mask) > 0
    assert different[masked].mean() > 0.9
    assert not different[~masked].any()


@pytest.mark.parametrize(
    ("size", "outpaint", "masked"),
    [
        ((513, 771), Outpaint(left=17), False),
        ((513, 771), Outpaint(left=33, top=1, right=64, bottom=130), True),
        ((64, 65), Outpaint(top=200, right=3), False),
    ],
    ids=["one side", "all sides and a mask", "higher than before"],
)
def test_a_larger_canvas_is_painted_and_the_image_stays(
    models: ImageModels, size: tuple[int, int], outpaint: Outpaint, masked: bool
) -> None:
    image, box = picture(*size), (20, 30, 50, 60)
    mask = box_mask(size, box) if masked else None
    made = repaint(models, image, mask, steps=1, outpaint=outpaint).image
    assert made.size == (size[0] + outpaint.left + outpaint.right, size[1] + outpaint.top + outpaint.bottom)
    place = (outpaint.left, outpaint.top, outpaint.left + size[0], outpaint.top + size[1])
    different = changed(image, made.crop(place))
    kept = np.ones(different.shape, dtype=bool) if mask is None else np.asarray(mask) == 0
    assert not different[kept].any()
    assert not masked or different[40:50, 30:40].mean() > 0.9
    # What is new was painted, and not only drawn on from the image's edge.
    around = np.ones((made.height, made.width), dtype=bool)
    around[place[1] : place[3], place[0] : place[2]] = False
    assert changed(grown(image, outpaint), made)[around].mean() > 0.9


def test_a_crop_of_a_larger_canvas_works_on_the_new_part(models: ImageModels, forwards: list[int]) -> None:
    repaint(models, picture(512, 256), None, steps=1, outpaint=Outpaint(right=64), crop_padding=16)
    # Canvas and itself as its reference: 80 × 256 pixels.
    assert forwards == [2 * 5 * 16]


def test_a_crop_works_on_few_tokens(models: ImageModels, forwards: list[int]) -> None:
    image, mask = picture(512, 512), box_mask((512, 512), (200, 200, 280, 260))
    repaint(models, image, mask, steps=1)
    repaint(models, image, mask, steps=1, crop_padding=16)
    repaint(models, image, box_mask((512, 512), (0, 0, 5, 5)), steps=1, crop_padding=0)
    # The image and itself as its reference.
    assert forwards == [2 * 32 * 32, 2 * 7 * 6, 2 * 4 * 4]


def test_large_regions_are_scaled_down(
    models: ImageModels, forwards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milimo_image.defaults.MAX_INPAINT_PIXELS", 128 * 128)
    image, mask = picture(256, 257), box_mask((256, 257), (50, 50, 200, 190))
    made = repaint(models, image, mask, steps=1)
    assert forwards == [2 * 8 * 8]
    different = changed(image, made.image)
    assert not different[np.asarray(mask) == 0].any()
    assert different[100:120, 100:120].mean() > 0.9


@pytest.mark.parametrize(
    ("fields", "count"),
    [({"steps": 4}, 4), ({"steps": 4, "strength": 0.5}, 2), ({"steps": 4, "strength": 0.01}, 1)],
)
def test_strength_leaves_out_steps(
    models: ImageModels, forwards: list[int], fields: dict[str, Any], count: int
) -> None:
    image, mask, recorder = picture(64, 64), box_mask((64, 64), (16, 16, 48, 48)), Recorder()
    repaint(models, image, mask, observer=recorder, **fields)
    repaint(models, image, mask, enable_true_cfg=True, **fields)
    assert len(forwards) == count + 2 * count
    assert recorder.stages == [("encode_prompt", 1), ("encode_references", 1), ("denoise", count), ("decode", 1)]
    assert len(recorder.previews) == count


def test_less_strength_stays_nearer_to_the_image(models: ImageModels) -> None:
    image, mask = picture(128, 128), Image.new("L", (128, 128), 255)
    made = [
        np.asarray(repaint(models, image, mask, steps=8, strength=strength).image, dtype=float)
        for strength in (0.13, 0.5, 1.0)
    ]
    # Against the image as the autoencoder gives it back.
    distances = [float(np.abs(each - made[0]).mean()) for each in made]
    assert distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_cancel_ends_within_the_step(models: ImageModels, calls: Counter[str], after: int) -> None:
    image, mask = picture(64, 64), box_mask((64, 64), (16, 16, 48, 48))
    with pytest.raises(JobCancelled):
        repaint(models, image, mask, observer=Recorder(cancel_after=after))
    # Previews are decoded too: one after each step before the last one that counts.
    assert calls["decoder"] == max(0, after - 2)
