"""The real models, small: what a job makes after its weights were parked and restored is what it made before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from milimo_image.plan import plan_image
from milimo_image.program import load as load_image
from milimo_image.request import ImageRequest
from milimo_runtime.device import device_plan
from milimo_runtime.observer import Silent
from milimo_runtime.parking import Layout, Parked
from milimo_runtime.registry import ModelFootprint, Registry, write_manifest
from milimo_segmentation.model import load as load_segmentation
from milimo_segmentation.predict import predict_mask
from milimo_segmentation.prompts import Point
from milimo_segmentation.text import segment_text
from milimo_tiny.flux2 import write_flux2
from milimo_tiny.ltx2 import write_ltx2
from milimo_tiny.sam3 import write_sam3
from milimo_video.loaded import load as load_video
from milimo_video.request import VideoRequest
from PIL import Image

from .video_engine.tiny import frames_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from milimo_image.program import LoadedImage
    from milimo_segmentation.model import LoadedSegmentation
    from milimo_video.loaded import LoadedVideo


def video(loaded: LoadedVideo) -> Sequence[np.ndarray[Any, Any]]:
    request = VideoRequest(prompt="a red ball", seed=11, width=128, height=64, num_frames=9)
    return frames_of(loaded.models, request)


def image(loaded: LoadedImage) -> Sequence[np.ndarray[Any, Any]]:
    from milimo_image.engine import generate

    request = ImageRequest(prompt="a red circle", width=128, height=96, seed=5)
    plan = plan_image(request, is_distilled=loaded.models.is_distilled, random_seed=0)
    made = generate(loaded.models, request, plan, Silent(), caches=loaded.caches)
    return [np.asarray(one.image) for one in made]


def segmentation(loaded: LoadedSegmentation) -> Sequence[np.ndarray[Any, Any]]:
    picture = Image.linear_gradient("L").convert("RGB").resize((160, 120))
    clicked = predict_mask(loaded.models, loaded.embeddings, picture, [Point(x=50, y=50)], [], multimask=True)
    named = segment_text(loaded.models, loaded.embeddings, picture, "a square", confidence=0.0, limit=2)
    scores = [np.array([one.score for one in made]) for made in (clicked, named)]
    return [*(mask.field.mask() for mask in clicked), *scores]


MODELS: dict[str, tuple[Callable[[Path], Any], Callable[..., Any], Callable[[Any], Sequence[Any]]]] = {
    "video": (write_ltx2, load_video, video),
    "image": (write_flux2, load_image, image),
    "segmentation": (write_sam3, load_segmentation, segmentation),
}


@pytest.mark.parametrize(("write", "load", "job"), MODELS.values(), ids=MODELS)
def test_a_job_makes_the_same_before_and_after(
    write: Callable[[Path], Any], load: Callable[..., Any], job: Callable[[Any], Sequence[Any]], tmp_path: Path
) -> None:
    root = tmp_path / "test" / "model"
    root.parent.mkdir()
    write(root)
    manifest = dict.fromkeys(("license", "note", "advice"), "")
    manifest |= {"name": "model", "family": "test", "purpose": "image", "checkpoint": "distilled"}
    write_manifest(root, manifest, footprints=[ModelFootprint(name="float32", bytes=1)])
    loaded = load(Registry(tmp_path, "test").require("model"), device_plan("cpu"), lambda: None)
    before = job(loaded)
    loaded.drop_caches()
    layout = Layout(loaded.modules())
    assert loaded.weight_bytes <= layout.bytes < 1.2 * loaded.weight_bytes
    parked = Parked(layout)
    places = {tensor.untyped_storage().data_ptr() for module in loaded.modules() for tensor in module.parameters()}
    assert len(places) == 1, "one buffer for the whole model"
    parked.restore(lambda: None)
    for module in loaded.modules():
        for tensor in (*module.parameters(), *module.buffers()):
            assert not tensor.is_inference()
    after = job(loaded)
    assert len(before) == len(after) > 0
    for one, other in zip(before, after, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    assert torch.is_grad_enabled()
