"""The segmentation engine on tiny checkpoints, held to transformers' own models and processors used by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_runtime.device import DevicePlan, Placement, device_plan
from milimo_runtime.errors import InvalidArgument, ModelMissing
from milimo_runtime.lease_terms import LeaseLost
from milimo_segmentation.embeddings import content_key, embedding_cache
from milimo_segmentation.models import SegmentationModels, load_segmentation_models
from milimo_segmentation.predict import predict_mask
from milimo_segmentation.prompts import Box, Point
from milimo_segmentation.text import segment_text
from milimo_tiny.sam3 import write_sam3
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam3")
    write_sam3(folder)
    return folder


@pytest.fixture(scope="module")
def models(root: Path) -> SegmentationModels:
    return load_segmentation_models(root / "detector", root / "tracker", device_plan("cpu"))


@pytest.fixture
def backbone_runs(models: SegmentationModels) -> Iterator[Counter[str]]:
    counter: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: counter.update([name]))
        for name, module in (
            ("detector", models.detector.vision_encoder),
            ("tracker", models.tracker.vision_encoder),
            ("backbone", models.detector.vision_encoder.backbone),
        )
    ]
    yield counter
    for handle in handles:
        handle.remove()


def scene(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.2, height * 0.2, width * 0.5, height * 0.6), fill="red")
    draw.rectangle((width * 0.6, height * 0.5, width * 0.9, height * 0.9), fill="blue")
    return image


SCENE = scene(201, 133)
CLICKS = [Point(x=70.5, y=50.0), Point(x=150.0, y=100.0, positive=False)]
BOX = Box(x0=40.0, y0=26.0, x1=100.0, y1=80.0)


def tracker_by_hand(root: Path, image: Image.Image, *, multimask: bool, **prompts: Any) -> tuple[Any, Any]:
    from transformers import Sam3TrackerModel, Sam3TrackerProcessor

    model = Sam3TrackerModel.from_pretrained(root / "tracker").eval()
    processor = Sam3TrackerProcessor.from_pretrained(root / "tracker")
    inputs = processor(images=image, return_tensors="pt", **prompts)
    with torch.no_grad():
        output = model(**inputs, multimask_output=multimask)
    masks = processor.post_process_masks(output.pred_masks, inputs["original_sizes"])[0]
    return masks.numpy(), output.iou_scores[0].numpy()


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize(
    ("points", "boxes", "by_hand"),
    [
        (CLICKS, [], {"input_points": [[[[70.5, 50.0], [150.0, 100.0]]]], "input_labels": [[[1, 0]]]}),
        ([], [BOX], {"input_boxes": [[[40.0, 26.0, 100.0, 80.0]]]}),
        (
            CLICKS[:1],
            [BOX],
            {
                "input_points": [[[[70.5, 50.0]]]],
                "input_labels": [[[1]]],
                "input_boxes": [[[40.0, 26.0, 100.0, 80.0]]],
            },
        ),
        (
            [],
            [BOX, replace(BOX, x1=190.0)],
            {"input_boxes": [[[40.0, 26.0, 100.0, 80.0], [40.0, 26.0, 190.0, 80.0]]]},
        ),
    ],
    ids=["points", "box", "both", "two boxes"],
)
def test_equals_the_tracker_by_hand(
    models: SegmentationModels,
    root: Path,
    points: list[Point],
    boxes: list[Box],
    by_hand: dict[str, Any],
    multimask: bool,
) -> None:
    made = predict_mask(models, embedding_cache(), SCENE, points, boxes, multimask=multimask)
    masks, scores = tracker_by_hand(root, SCENE, multimask=multimask, **by_hand)
    objects, candidates = scores.shape
    assert len(made) == objects * candidates == max(1, len(boxes)) * (3 if multimask else 1)
    for index in range(objects):
        mine = [mask for mask in made if mask.object_index == index]
        assert [mask.score for mask in mine] == sorted((mask.score for mask in mine), reverse=True)
        order = np.argsort(-scores[index], kind="stable")
        for mask, rank in zip(mine, order, strict=True):
            assert mask.score == scores[index, rank]
            assert np.array_equal(mask.field.mask(), masks[index, rank])


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("size", [(201, 133), (64, 300)])
def test_equals_the_detector_by_hand(
    models: SegmentationModels, root: Path, size: tuple[int, int], confidence: float
) -> None:
    from transformers import Sam3Model, Sam3Processor

    image = scene(*size)
    model = Sam3Model.from_pretrained(root / "detector").eval()
    processor = Sam3Processor.from_pretrained(root / "detector")
    inputs = processor(images=image, text="red circle", return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    expected = processor.post_process_instance_segmentation(
        output, threshold=confidence, target_sizes=inputs["original_sizes"].tolist()
    )[0]
    made = segment_text(models, embedding_cache(), image, "red circle", confidence=confidence)
    order = torch.argsort(expected["scores"], descending=True, stable=True).tolist()
    assert len(made) == len(order)
    for instance, index in zip(made, order, strict=True):
        assert instance.score == float(expected["scores"][index])
        assert np.array_equal(instance.field.mask(), expected["masks"][index].numpy().astype(bool))
        x0, y0, x1, y1 = expected["boxes"][index].tolist()
        width, height = size
        clipped = Box(x0=max(x0, 0.0), y0=max(y0, 0.0), x1=min(x1, width), y1=min(y1, height))
        assert instance.box == clipped


@pytest.mark.parametrize("size", [(201, 133), (1, 1), (17, 640), (225, 223), (3, 2000)])
def test_masks_have_the_size_of_the_image(models: SegmentationModels, size: tuple[int, int]) -> None:
    image = scene(*size) if min(size) > 1 else Image.new("RGB", size)
    cache = embedding_cache()
    for mask in predict_mask(models, cache, image, [Point(x=0.5, y=0.5)], [], multimask=True):
        made = mask.field.mask()
        assert (made.shape, made.dtype) == (size[::-1], np.bool_)
    for instance in segment_text(models, cache, image, "cat"):
        made = instance.field.mask()
        assert (made.shape, made.dtype) == (size[::-1], np.bool_)


def test_the_second_click_does_not_run_the_backbone(models: SegmentationModels, backbone_runs: Counter[str]) -> None:
    cache = embedding_cache()
    first = predict_mask(models, cache, SCENE, CLICKS[:1], [], multimask=False)
    assert backbone_runs == {"tracker": 1, "backbone": 1}
    # The same pixels in another object.
    second = predict_mask(models, cache, SCENE.copy(), CLICKS[:1], [], multimask=False)
    predict_mask(models, cache, SCENE, CLICKS, [BOX], multimask=True)
    assert backbone_runs == {"tracker": 1, "backbone": 1}
    assert np.array_equal(first[0].field.values, second[0].field.values)
    predict_mask(models, cache, scene(133, 201), CLICKS[:1], [], multimask=False)
    assert backbone_runs["tracker"] == 2


def test_the_second_text_does_not_run_the_backbone(models: SegmentationModels, backbone_runs: Counter[str]) -> None:
    cache = embedding_cache()
    first = segment_text(models, cache, SCENE, "red circle")
    segment_text(models, cache, SCENE, "blue square")
    again = segment_text(models, cache, SCENE, "red circle")
    assert backbone_runs == {"detector": 1, "backbone": 1}
    assert [one.score for one in first] == [one.score for one in again]
    assert all(np.array_equal(one.field.values, other.field.values) for one, other in zip(first, again, strict=True))


def test_embeddings_are_bounded_and_forgotten(models: SegmentationModels, backbone_runs: Counter[str]) -> None:
    one = embedding_cache()
    predict_mask(models, one, SCENE, CLICKS, [], multimask=False)
    size = one.used_bytes
    assert size > 0
    cache = embedding_cache(max_bytes=2 * size)
    images = [scene(100 + index, 90) for index in range(3)]
    for image in images:
        predict_mask(models, cache, image, CLICKS[:1], [], multimask=False)
        assert cache.used_bytes <= 2 * size
    before = backbone_runs["tracker"]
    predict_mask(models, cache, images[2], CLICKS[:1], [], multimask=False)
    assert backbone_runs["tracker"] == before
    predict_mask(models, cache, images[0], CLICKS[:1], [], multimask=False)
    assert backbone_runs["tracker"] == before + 1
    cache.clear()
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_a_known_key_spares_the_hash(models: SegmentationModels, backbone_runs: Counter[str]) -> None:
    cache = embedding_cache()
    for _ in range(2):
        predict_mask(models, cache, SCENE, CLICKS, [], multimask=False, key="sha256:abc")
    assert backbone_runs["tracker"] == 1
    assert content_key(SCENE) != content_key(scene(133, 201))
    # The same bytes in another shape are another image.
    assert content_key(Image.new("RGB", (4, 6))) != content_key(Image.new("RGB", (6, 4)))


def test_the_backbone_is_one(models: SegmentationModels, root: Path, tmp_path: Path) -> None:
    assert models.tracker.vision_encoder.backbone is models.detector.vision_encoder.backbone
    write_sam3(tmp_path, seed=1)
    apart = load_segmentation_models(root / "detector", tmp_path / "tracker", device_plan("cpu"))
    assert apart.tracker.vision_encoder.backbone is not apart.detector.vision_encoder.backbone
    assert apart.total_bytes > models.total_bytes
    assert models.total_bytes == sum(models.weight_bytes.values())


@pytest.mark.parametrize("text", ["red circle", "cat", "a blue square"])
def test_random_weights_still_show_something(models: SegmentationModels, text: str) -> None:
    cache = embedding_cache()
    found = segment_text(models, cache, SCENE, text)
    assert found
    assert any(instance.field.mask().any() for instance in found)
    (mask,) = predict_mask(models, cache, SCENE, CLICKS[:1], [], multimask=False)
    assert 0 < mask.field.mask().mean() < 1


def test_nothing_found_is_an_answer(models: SegmentationModels) -> None:
    assert segment_text(models, embedding_cache(), SCENE, "red circle", confidence=1.0) == ()


def test_the_best_are_taken_when_there_are_too_many(models: SegmentationModels) -> None:
    cache = embedding_cache()
    everything = segment_text(models, cache, SCENE, "red circle", confidence=0.0)
    assert len(everything) == 10
    few = segment_text(models, cache, SCENE, "red circle", confidence=0.0, limit=3)
    assert [one.score for one in few] == [one.score for one in everything[:3]]


def test_the_lease_is_looked_at_between_the_backbone_and_the_rest(
    models: SegmentationModels, backbone_runs: Counter[str]
) -> None:
    heads: Counter[str] = Counter()
    handles = [
        models.tracker.mask_decoder.register_forward_hook(lambda *_: heads.update(["clicks"])),
        models.detector.detr_decoder.register_forward_hook(lambda *_: heads.update(["text"])),
    ]

    def lost() -> None:
        raise LeaseLost("for a test")

    cache = embedding_cache()
    with pytest.raises(LeaseLost):
        predict_mask(models, cache, SCENE, CLICKS, [], multimask=False, check=lost)
    with pytest.raises(LeaseLost):
        segment_text(models, cache, SCENE, "cat", check=lost)
    assert (backbone_runs["tracker"], backbone_runs["detector"], heads) == (1, 1, Counter())
    predict_mask(models, cache, SCENE, CLICKS, [], multimask=False)
    segment_text(models, cache, SCENE, "cat")
    # The hooks see what is counted.
    assert set(heads) == {"clicks", "text"}
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("text", "confidence", "field"),
    [
        ("", 0.5, "text"),
        ("  ", 0.5, "text"),
        ("ξ" * 40, 0.5, "text"),
        ("a " * 501, 0.5, "text"),
        ("cat", -0.1, "confidence"),
        ("cat", 1.1, "confidence"),
        ("cat", float("nan"), "confidence"),
    ],
)
def test_wrong_texts_are_refused(
    models: SegmentationModels, backbone_runs: Counter[str], text: str, confidence: float, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        segment_text(models, embedding_cache(), SCENE, text, confidence=confidence)
    assert caught.value.violations[0].field == field
    assert not backbone_runs


def test_wrong_prompts_are_refused_before_any_work(models: SegmentationModels, backbone_runs: Counter[str]) -> None:
    with pytest.raises(InvalidArgument):
        predict_mask(models, embedding_cache(), SCENE, [Point(x=202.0, y=1.0)], [], multimask=False)
    assert not backbone_runs


def test_attention_without_fused_kernels_finds_the_same(models: SegmentationModels) -> None:
    plain = segment_text(models, embedding_cache(), SCENE, "cat")
    restricted = segment_text(replace(models, math_attention=True), embedding_cache(), SCENE, "cat")
    scores = [[one.score for one in found] for found in (plain, restricted)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


def test_half_precision_gives_arrays_all_the_same(root: Path) -> None:
    """On an accelerator the models run in bfloat16, which numpy does not know."""
    half = DevicePlan(kind="cpu", default=Placement(device="cpu", dtype="bfloat16"))
    models = load_segmentation_models(root / "detector", root / "tracker", half)
    assert models.tracker.dtype == models.detector.dtype == torch.bfloat16
    cache = embedding_cache()
    (mask,) = predict_mask(models, cache, SCENE, CLICKS, [BOX], multimask=False)
    made = mask.field.mask()
    assert (made.dtype, made.shape) == (np.bool_, (133, 201))
    found = segment_text(models, cache, SCENE, "cat")
    assert found
    assert {instance.field.values.dtype for instance in found} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("part", "missing"),
    [("detector", "tokenizer.json"), ("tracker", "processor_config.json"), ("tracker", "model.safetensors")],
)
def test_a_missing_file_is_named(tmp_path: Path, part: str, missing: str) -> None:
    write_sam3(tmp_path)
    (tmp_path / part / missing).unlink()
    with pytest.raises(ModelMissing) as caught:
        load_segmentation_models(tmp_path / "detector", tmp_path / "tracker", device_plan("cpu"))
    assert missing.split(".")[-1] in caught.value.message
