"""Elements in video requests: their words, and when one of their images is where the video starts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from milimo_runtime.assets import new_id
from milimo_runtime.database import now
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.schema import AssetRow
from milimo_storyboard.elements import Element, ElementType, create_element
from milimo_video.elements import with_elements
from milimo_video.request import Condition, Extension, PipelineOverride, Retake, VideoRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from milimo_runtime.database import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def picture(database: Database, project: str) -> str:
    """An image, of the element Lamp; Zoë has none, and another project has the Sea."""
    sizes: dict[str, Any] = dict.fromkeys(("width", "height", "num_frames", "bytes"), 64)
    texts = dict.fromkeys(("name", "media_type", "sha256", "key", "thumbnail_key"), "")
    with database.write() as session:
        asset = AssetRow(
            id=new_id(),
            project_id=project,
            kind="image",
            parameters={},
            created_at=now(),
            fps=0.0,
            duration_seconds=0.0,
            **sizes,
            **texts,
        )
        session.add(asset)
        session.flush()
        zoe = Element(project_id=project, name="Zoë", type=ElementType.CHARACTER, description="tall")
        lamp = Element(project_id=project, name="Lamp", type=ElementType.OBJECT, image_asset_ids=(asset.id,))
        for element in (zoe, lamp):
            create_element(session, element, loras=())
        return asset.id


@pytest.fixture
def resolved(database: Database, project: str) -> Callable[[VideoRequest], tuple[VideoRequest, list[str]]]:
    def resolve(request: VideoRequest) -> tuple[VideoRequest, list[str]]:
        with database.read() as session:
            made, notices = with_elements(session, project, request)
        return made, [notice.code for notice in notices]

    return resolve


NAMED = VideoRequest(prompt="@Zoë lifts the lamp", seed=1, chunk_prompts=("", "@zoë drops it", "rain"))


def test_a_video_of_words_alone_starts_from_an_image(picture: str, resolved: Callable[..., Any]) -> None:
    made, notices = resolved(NAMED)
    assert (made.prompt, made.original_prompt) == ("Zoë (tall) lifts the lamp", NAMED.prompt)
    assert made.chunk_prompts == ("", "Zoë (tall) drops it", "rain")
    assert made.conditions == (Condition(asset_id=picture, kind="image", frame_index=0),)
    assert notices == ["ELEMENTS_SHOWN", "ELEMENT_START_IMAGE"]


@pytest.mark.parametrize(
    "changes",
    [
        {"conditions": (Condition(asset_id="x", kind="image", frame_index=-1),)},
        {"extension": Extension(asset_id="x", frames=9, seconds=1.0)},
        {"retake": Retake(asset_id="x", frames=9, first_frame=0, last_frame=3)},
        {"pipeline_override": PipelineOverride.KEYFRAME},
        {"num_frames": 1},
        {"prompt": "Zoë alone"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_one_that_has_other_pictures_or_none_to_start_from_does_not(
    picture: str, resolved: Callable[..., Any], changes: dict[str, Any]
) -> None:
    asked = replace(NAMED, **changes)
    made, notices = resolved(asked)
    assert made.conditions == asked.conditions
    assert made.prompt.startswith("Zoë (tall)")
    assert notices == ["ELEMENTS_SHOWN"]


def test_a_prompt_without_elements_stays_as_it_is(picture: str, resolved: Callable[..., Any]) -> None:
    asked = VideoRequest(prompt="the sea", seed=1)
    assert resolved(asked) == (asked, [])


@pytest.mark.parametrize("field", ["prompt", "chunk_prompts[0]"])
def test_descriptions_do_not_make_a_prompt_too_long(picture: str, resolved: Callable[..., Any], field: str) -> None:
    long = "@Zoë" + " x" * 4_998
    asked = VideoRequest(prompt=long if field == "prompt" else "x", seed=1, chunk_prompts=(long,))
    with pytest.raises(InvalidArgument) as caught:
        resolved(asked)
    assert caught.value.violations[0].field == field
