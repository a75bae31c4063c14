"""Outpainting's canvas, and which masks a request may name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milimo_image.canvas import canvas_mask, grown
from milimo_image.messages import from_json, to_json
from milimo_image.plan import FIND_MASK, ImagePlan, plan_image
from milimo_image.request import Box, Click, ImageRequest, Inpaint, MaskPrompt, Outpaint, Reference
from milimo_runtime.errors import InvalidArgument
from PIL import Image

IMAGE = Reference(asset_id="image", width=513, height=771)
MASK = Reference(asset_id="mask", width=513, height=771)


def plan(**fields: object) -> ImagePlan:
    inpaint = Inpaint(image=IMAGE, **fields)  # type: ignore[arg-type]
    return plan_image(ImageRequest(prompt="x", inpaint=inpaint), is_distilled=True, random_seed=0)


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    sides=st.tuples(*[st.integers(0, 15)] * 4),
    masked=st.booleans(),
)
def test_the_image_keeps_its_place_and_all_around_it_is_masked(
    size: tuple[int, int], sides: tuple[int, int, int, int], masked: bool
) -> None:
    outpaint = Outpaint(**dict(zip(("left", "top", "right", "bottom"), sides, strict=True)))
    left, top, right, bottom = sides
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    canvas = grown(Image.fromarray(pixels), outpaint)
    assert canvas.size == (left + size[0] + right, top + size[1] + bottom)
    assert (np.asarray(canvas)[top : top + size[1], left : left + size[0]] == pixels).all()
    mask = canvas_mask(Image.new("L", size, 255 * masked) if masked else None, size, outpaint)
    assert mask.shape == (canvas.height, canvas.width)
    inside = mask[top : top + size[1], left : left + size[0]]
    assert inside.all() if masked else not inside.any()
    assert mask.sum() - inside.sum() == canvas.width * canvas.height - size[0] * size[1]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "mask"),
        ({"outpaint": Outpaint()}, "mask"),
        ({"mask": replace(MASK, width=500)}, "mask_asset_id"),
        ({"mask_prompt": MaskPrompt()}, "mask_prompt"),
        ({"mask_prompt": MaskPrompt(points=(Click(x=1, y=1, positive=False),))}, "mask_prompt"),
        ({"mask_prompt": MaskPrompt(points=(Click(x=514, y=1),))}, "mask_prompt.points[0].x"),
        ({"mask_prompt": MaskPrompt(points=(Click(x=0, y=0), Click(x=1, y=772)))}, "mask_prompt.points[1].y"),
        ({"mask_prompt": MaskPrompt(boxes=(Box(x0=0, y0=0, x1=514, y1=9),))}, "mask_prompt.boxes[0].x1"),
        (
            {"mask_prompt": MaskPrompt(points=(Click(x=0, y=0),), boxes=(Box(x0=0, y0=0, x1=4, y1=9),) * 2)},
            "mask_prompt.points",
        ),
        ({"outpaint": Outpaint(left=4096, right=4096)}, "outpaint"),
        ({"outpaint": Outpaint(right=7680, bottom=7422)}, "outpaint"),
    ],
)
def test_wrong_masks_name_the_field(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan(**fields)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"mask": MASK}, (513, 771)),
        ({"outpaint": Outpaint(right=1)}, (514, 771)),
        ({"mask": replace(MASK, width=1026, height=1542), "outpaint": Outpaint(left=7, top=9)}, (520, 780)),
        ({"outpaint": Outpaint(right=7679, bottom=7041)}, (8192, 7812)),
        ({"mask_prompt": MaskPrompt(points=(Click(x=513, y=771),))}, (513, 771)),
        ({"mask_prompt": MaskPrompt(text="the sky"), "outpaint": Outpaint(top=100)}, (513, 871)),
    ],
)
def test_the_result_has_the_size_of_the_canvas(fields: dict[str, object], size: tuple[int, int]) -> None:
    made = plan(**fields)
    assert (made.width, made.height) == size
    assert (made.stages[0].name == FIND_MASK) == ("mask_prompt" in fields)


def test_a_job_keeps_what_was_asked() -> None:
    for inpaint in (
        Inpaint(image=IMAGE, mask=MASK, crop_padding=3),
        Inpaint(image=IMAGE, mask_prompt=MaskPrompt(text="boat"), outpaint=Outpaint(left=1, top=2, right=3, bottom=4)),
        Inpaint(
            image=IMAGE,
            mask_prompt=MaskPrompt(points=(Click(x=1, y=2, positive=False),), boxes=(Box(x0=1, y0=2, x1=3, y1=4),)),
        ),
    ):
        request = ImageRequest(prompt="x", inpaint=inpaint)
        assert from_json(to_json(request, 7)) == replace(request, seed=7)
    # As versions before wrote it.
    value = to_json(ImageRequest(prompt="x", inpaint=Inpaint(image=IMAGE, mask=MASK)), 7)
    del value["inpaint"]["mask_prompt"], value["inpaint"]["outpaint"]
    assert from_json(value).inpaint == Inpaint(image=IMAGE, mask=MASK)
