"""Images through the gateway: references, true guidance, and inpainting that touches only its mask."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from milimo.v1 import image_pb2, jobs_pb2
from milimo_runtime.images import decode_image
from PIL import ExifTags, Image

if TYPE_CHECKING:
    from pathlib import Path

    from milimo import Milimo
    from milimo.v1 import assets_pb2, projects_pb2

SIZE = (160, 97)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def uploaded(client: Milimo, project: projects_pb2.Project, path: Path, image: Image.Image, **save: Any) -> str:
    image.save(path, **save)
    return client.upload(path, project_id=project.id).id


def finished(client: Milimo, job: jobs_pb2.Job) -> tuple[list[str], assets_pb2.Asset]:
    """The codes of the job's notices, and its result."""
    watch = client.watch(job.id)
    notices = [event.notice.code for event in watch if event.HasField("notice")]
    result = watch.result()
    assert result.state == jobs_pb2.JOB_STATE_SUCCEEDED, result
    return notices, result.assets[0]


def content(http: str, asset: assets_pb2.Asset) -> bytes:
    answer = httpx.get(f"{http}{asset.url}")
    assert answer.status_code == 200
    return answer.content


def test_references_and_true_guidance_act(
    client: Milimo, project: projects_pb2.Project, http: str, tmp_path: Path
) -> None:
    reference = uploaded(client, project, tmp_path / "reference.png", picture(100, 80))
    common = {"prompt": "the sea", "width": 64, "height": 64, "seed": 3, "format": image_pb2.IMAGE_FORMAT_PNG}
    made = {}
    for name, fields, codes in (
        ("plain", {}, []),
        ("reference", {"reference_asset_ids": [reference]}, []),
        ("ignored", {"negative_prompt": "grey"}, ["NEGATIVE_PROMPT_IGNORED"]),
        ("guided", {"negative_prompt": "grey", "enable_true_cfg": True}, []),
        ("diffusers", {"enable_ae": False}, []),
    ):
        image = image_pb2.ImageParameters(**common, **fields)  # type: ignore[arg-type]
        job = client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project.id, image=image)).job
        notices, asset = finished(client, job)
        assert notices == codes, name
        made[name] = decode_image(content(http, asset), field="result").tobytes()
        assert asset.parameters["seed"] == 3
    assert made["plain"] == made["ignored"] == made["diffusers"]
    assert len({made["plain"], made["reference"], made["guided"]}) == 3


@pytest.mark.parametrize("kind", ["png", "rotated jpeg", "transparent png"])
def test_inpainting_changes_only_what_is_masked(
    client: Milimo, project: projects_pb2.Project, http: str, tmp_path: Path, kind: str
) -> None:
    image, path, save = picture(*SIZE), tmp_path / "image.png", {}
    if kind == "rotated jpeg":
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        path, save = tmp_path / "image.jpg", {"exif": exif}
    elif kind == "transparent png":
        image.putalpha(Image.linear_gradient("L").resize(SIZE))
    source = uploaded(client, project, path, image, **save)
    before = decode_image(path, field="image")
    # Painted on transparency: what is transparent is not masked.
    mask = Image.new("RGBA", before.size)
    mask.paste((255, 255, 255, 255), (40, 30, 80, 80))
    mask_id = uploaded(client, project, tmp_path / "mask.png", mask)
    inpaint = image_pb2.InpaintParameters(asset_id=source, mask_asset_id=mask_id, prompt="a boat", seed=4, steps=2)
    job = client.images.SubmitInpaint(image_pb2.SubmitInpaintRequest(project_id=project.id, inpaint=inpaint)).job
    assert job.kind == jobs_pb2.JOB_KIND_INPAINT
    notices, asset = finished(client, job)
    assert notices == []
    assert (asset.media_type, asset.width, asset.height) == ("image/png", *before.size)
    with Image.open(io.BytesIO(content(http, asset))) as after:
        different = (np.asarray(before) != np.asarray(after)).any(axis=2)
    masked = np.asarray(mask)[..., 3] > 0
    assert not different[~masked].any()
    assert different[masked].mean() > 0.5


def test_bad_input_names_the_field(client: Milimo, project: projects_pb2.Project, http: str, tmp_path: Path) -> None:
    fine = uploaded(client, project, tmp_path / "fine.png", picture(*SIZE))
    tiny = uploaded(client, project, tmp_path / "tiny.png", picture(10, 10))
    wide = uploaded(client, project, tmp_path / "wide.png", picture(700, 64))
    images, inpaints = f"{http}/v1/projects/{project.id}/images", f"{http}/v1/projects/{project.id}/images:inpaint"
    painted = {"asset_id": fine, "mask_asset_id": fine, "prompt": "x"}
    for url, body, status, field in (
        (images, {"prompt": "x", "reference_asset_ids": [fine] * 11}, 400, "image.reference_asset_ids"),
        (images, {"prompt": "x", "reference_asset_ids": [fine, tiny]}, 400, "image.reference_asset_ids[1]"),
        (images, {"prompt": "x", "reference_asset_ids": [wide]}, 400, "image.reference_asset_ids[0]"),
        (images, {"prompt": "x", "reference_asset_ids": ["nothing"]}, 404, "image.reference_asset_ids[0]"),
        (inpaints, {**painted, "asset_id": tiny}, 400, "inpaint.asset_id"),
        (inpaints, {**painted, "mask_asset_id": wide}, 400, "inpaint.mask_asset_id"),
        (inpaints, {**painted, "mask_asset_id": "nothing"}, 404, "inpaint.mask_asset_id"),
        (inpaints, {"mask_asset_id": fine, "prompt": "x"}, 400, "inpaint.asset_id"),
        (inpaints, {"asset_id": fine, "prompt": "x"}, 400, "inpaint.mask"),
    ):
        answer = httpx.post(url, json=body)
        assert answer.status_code == status, (body, answer.text)
        assert f'"{field}"' in answer.text, (field, answer.text)
