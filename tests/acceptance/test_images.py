"""Images through the gateway: references, true guidance, and inpainting that touches only its mask."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from milimo.v1 import arbiter_pb2, common_pb2, image_pb2, jobs_pb2, segmentation_pb2
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
        assert asset.parameters["model"] == "tiny/flux-2"
    assert made["plain"] == made["ignored"] == made["diffusers"]
    assert len({made["plain"], made["reference"], made["guided"]}) == 3


def test_a_batch_is_one_job_with_previews_of_each_image(
    client: Milimo, project: projects_pb2.Project, http: str
) -> None:
    image = image_pb2.ImageParameters(prompt="the sea", width=100, height=70, count=3, steps=2)
    request = image_pb2.GenerateImageRequest(project_id=project.id, image=image, previews=True)
    events = list(client.images.GenerateImage(request))
    fractions = [event.progress.fraction for event in events if event.HasField("progress")]
    assert fractions == sorted(fractions)
    previews = [event.preview.image for event in events if event.HasField("preview")]
    assert 1 <= len(previews) <= 3 * 2
    for preview in previews:
        assert decode_image(preview, field="preview").size == (112, 80)
    assets = [event.artefact_committed.asset for event in events if event.HasField("artefact_committed")]
    seed = int(client.jobs.GetJob(jobs_pb2.GetJobRequest(job_id=events[0].job_id)).job.parameters["seed"])  # type: ignore[arg-type]
    assert [asset.parameters["seed"] for asset in assets] == [seed, seed + 1, seed + 2]
    made = {content(http, asset) for asset in assets}
    assert len(made) == 3
    for asset in assets:
        thumbnail = decode_image(httpx.get(f"{http}{asset.thumbnail_url}").content, field="thumbnail")
        assert (asset.width, asset.height, *thumbnail.size) == (100, 70, 25, 18)


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
        (inpaints, {"mask_text": "boat", "prompt": "x"}, 400, "inpaint.asset_id"),
        (inpaints, {"asset_id": fine, "prompt": "x", "mask_text": ""}, 400, "inpaint.mask_text"),
        (inpaints, {"asset_id": fine, "prompt": "x", "mask_prompt": {}}, 400, "inpaint.mask_prompt"),
        (
            inpaints,
            {"asset_id": fine, "prompt": "x", "mask_prompt": {"points": [{"x": 161, "y": 5}]}},
            400,
            "inpaint.mask_prompt.points[0].x",
        ),
        (inpaints, {"asset_id": fine, "prompt": "x", "outpaint": {"left": 4097}}, 400, "inpaint.outpaint.left"),
    ):
        answer = httpx.post(url, json=body)
        assert answer.status_code == status, (body, answer.text)
        assert f'"{field}"' in answer.text, (field, answer.text)


def repainted(
    client: Milimo, project: projects_pb2.Project, **fields: Any
) -> tuple[list[str], list[str], assets_pb2.Asset]:
    """Stages and notices of an inpaint job, and its result."""
    inpaint = image_pb2.InpaintParameters(prompt="a boat", seed=4, steps=1, **fields)
    job = client.images.SubmitInpaint(image_pb2.SubmitInpaintRequest(project_id=project.id, inpaint=inpaint)).job
    watch = client.watch(job.id)
    events = list(watch)
    result = watch.result()
    assert result.state == jobs_pb2.JOB_STATE_SUCCEEDED, result
    stages = [event.progress.stage for event in events if event.HasField("progress")]
    return stages, [event.notice.code for event in events if event.HasField("notice")], result.assets[0]


def png_mask(png: bytes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L")) > 0


def test_masks_from_text_clicks_and_boxes(
    client: Milimo, project: projects_pb2.Project, http: str, tmp_path: Path
) -> None:
    """What the segmentation finds is what is repainted, whichever way it is asked."""
    image = picture(*SIZE)
    asset_id = uploaded(client, project, tmp_path / "image.png", image)
    source = common_pb2.ImageSource(asset_id=asset_id)
    points = [common_pb2.Point(x=40, y=40), common_pb2.Point(x=5, y=90, positive=False)]
    boxes = [common_pb2.Box(x0=10, y0=10, x1=60, y1=60), common_pb2.Box(x0=90, y0=20, x1=150, y1=90)]
    predict, segmentation = segmentation_pb2.PredictMaskRequest, client.segmentation
    everything = segmentation.SegmentText(segmentation_pb2.SegmentTextRequest(image=source, text="boat")).merged
    clicked = segmentation.PredictMask(predict(image=source, points=points)).masks[0]
    boxed = [segmentation.PredictMask(predict(image=source, boxes=[box])).masks[0] for box in boxes]
    for fields, expected in (
        ({"mask_text": "boat"}, png_mask(everything.png)),
        ({"mask_prompt": image_pb2.MaskPrompt(points=points)}, png_mask(clicked.png)),
        ({"mask_prompt": image_pb2.MaskPrompt(boxes=boxes)}, png_mask(boxed[0].png) | png_mask(boxed[1].png)),
    ):
        stages, notices, asset = repainted(client, project, asset_id=asset_id, feather=0, **fields)
        assert stages[0] == "find_mask"
        assert notices == []
        with Image.open(io.BytesIO(content(http, asset))) as made:
            different = (np.asarray(image) != np.asarray(made)).any(axis=2)
        assert expected.any()
        assert not different[~expected].any()
        assert different[expected].mean() > 0.5


def test_making_and_repainting_share_one_set_of_weights(
    client: Milimo, project: projects_pb2.Project, tmp_path: Path
) -> None:
    asset_id = uploaded(client, project, tmp_path / "image.png", picture(*SIZE))

    def grants() -> list[int]:
        leases = client.gpu.GetStatus(arbiter_pb2.GetStatusRequest()).status.leases
        return [lease.fencing_token for lease in leases if lease.tenant == "image"]

    image = image_pb2.ImageParameters(prompt="the sea", width=64, height=64, steps=1)
    finished(client, client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project.id, image=image)).job)
    before = grants()
    assert len(before) == 1
    repainted(client, project, asset_id=asset_id, mask_asset_id=asset_id)
    assert grants() == before


def test_a_larger_canvas_keeps_the_image(
    client: Milimo, project: projects_pb2.Project, http: str, tmp_path: Path
) -> None:
    image = picture(*SIZE)
    asset_id = uploaded(client, project, tmp_path / "image.png", image)
    outpaint = image_pb2.Outpaint(left=32, bottom=15)
    _, notices, asset = repainted(client, project, asset_id=asset_id, outpaint=outpaint)
    assert notices == []
    assert (asset.width, asset.height) == (SIZE[0] + 32, SIZE[1] + 15)
    assert asset.parameters["outpaint"] == "32,0,0,15"
    with Image.open(io.BytesIO(content(http, asset))) as made:
        assert made.crop((32, 0, 32 + SIZE[0], SIZE[1])).tobytes() == image.tobytes()


def test_references_through_the_ip_adapter(
    client: Milimo, project: projects_pb2.Project, http: str, tmp_path: Path
) -> None:
    reference = uploaded(client, project, tmp_path / "reference.png", picture(100, 80))
    made: dict[str, set[bytes]] = {}
    for mode, enable_ae, told in (
        (image_pb2.REFERENCE_MODE_UNSPECIFIED, True, "tokens"),
        (image_pb2.REFERENCE_MODE_UNSPECIFIED, False, "ip_adapter"),
        (image_pb2.REFERENCE_MODE_IP_ADAPTER, True, "ip_adapter"),
        (image_pb2.REFERENCE_MODE_BOTH, True, "both"),
    ):
        image = image_pb2.ImageParameters(
            prompt="the sea",
            width=64,
            height=64,
            seed=3,
            steps=1,
            format=image_pb2.IMAGE_FORMAT_PNG,
            reference_asset_ids=[reference],
            reference_mode=mode,
            enable_ae=enable_ae,
        )
        job = client.images.SubmitImage(image_pb2.SubmitImageRequest(project_id=project.id, image=image)).job
        _, asset = finished(client, job)
        assert asset.parameters["reference_mode"] == told
        made.setdefault(told, set()).add(decode_image(content(http, asset), field="result").tobytes())
    # The same for both autoencoders; another for each way in which references act.
    assert [len(images) for images in made.values()] == [1, 1, 1]
    assert len(set.union(*made.values())) == 3


@pytest.mark.parametrize("kind", ["cmyk", "grey of 16 bits", "palette"])
def test_images_of_other_kinds_are_taken(
    client: Milimo, project: projects_pb2.Project, tmp_path: Path, kind: str
) -> None:
    image, path = picture(*SIZE), tmp_path / "image.png"
    if kind == "cmyk":
        image, path = image.convert("CMYK"), tmp_path / "image.jpg"
    elif kind == "palette":
        image = image.quantize(16)
    else:
        image = Image.fromarray(np.random.default_rng(1).integers(0, 2**16, SIZE[::-1], dtype=np.uint16))
    asset_id = uploaded(client, project, path, image)
    _, _, asset = repainted(client, project, asset_id=asset_id, mask_asset_id=asset_id, reference_asset_ids=[asset_id])
    assert (asset.width, asset.height) == SIZE
