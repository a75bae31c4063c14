"""Elements: made, changed, listed, deleted; what they refuse changes nothing; assets that they show stay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import field_mask_pb2
from milimo.v1 import assets_pb2, common_pb2, elements_pb2, projects_pb2
from milimo_runtime.assets import new_id
from milimo_runtime.jobs import JobKind, JobState, NewJob, Subject
from milimo_runtime.registry import write_manifest
from milimo_runtime.schema import AssetRow, ElementRow
from milimo_storyboard import elements

from .board import ONLY_SQLITE, Storyboard, png, refused

if TYPE_CHECKING:
    from milimo_runtime.database import Database
    from milimo_runtime.job_store import JobStore

Element = elements_pb2.Element
CHARACTER = elements_pb2.ELEMENT_TYPE_CHARACTER


async def made(board: Storyboard, project_id: str, name: str, **fields: Any) -> elements_pb2.Element:
    element = Element(name=name, type=fields.pop("type", CHARACTER), **fields)
    request = elements_pb2.CreateElementRequest(project_id=project_id, element=element)
    return (await board.elements.CreateElement(request)).element


async def listed(board: Storyboard, project_id: str, size: int = 0) -> list[str]:
    names, token = [], ""
    while True:
        request = elements_pb2.ListElementsRequest(project_id=project_id, page_size=size, page_token=token)
        page = await board.elements.ListElements(request)
        names += [element.name for element in page.elements]
        token = page.next_page_token
        if not token:
            return names
        assert len(page.elements) == size


async def update(board: Storyboard, element: elements_pb2.Element, *mask: str) -> elements_pb2.Element:
    request = elements_pb2.UpdateElementRequest(element=element, update_mask=field_mask_pb2.FieldMask(paths=mask))
    return (await board.elements.UpdateElement(request)).element


async def got(board: Storyboard, element_id: str) -> elements_pb2.Element:
    return (await board.elements.GetElement(elements_pb2.GetElementRequest(element_id=element_id))).element


async def test_elements(storyboard: Storyboard) -> None:
    project, other = (await storyboard.project()).id, (await storyboard.project()).id
    first, second = (await storyboard.upload(project, png())).id, (await storyboard.upload(project, png())).id
    zoe = await made(storyboard, project, " Zoë Ray ", description="tall", image_asset_ids=[second, first])
    assert (zoe.project_id, zoe.name, zoe.type, zoe.trigger_word) == (project, "Zoë Ray", CHARACTER, "@ZoëRay")
    assert list(zoe.image_asset_ids) == [second, first]
    assert await got(storyboard, zoe.id) == zoe
    # Another project has its own triggers.
    await made(storyboard, other, "Zoë Ray")

    changed = await update(storyboard, Element(id=zoe.id, description="small", name="ignored"), "description")
    assert (changed.name, changed.description) == ("Zoë Ray", "small")
    assert changed.updated_at.ToNanoseconds() > zoe.updated_at.ToNanoseconds()
    # A trigger that prompts use stays when the name changes, unless it is asked for.
    assert (await update(storyboard, Element(id=zoe.id, name="Zoé"))).trigger_word == "@ZoëRay"
    assert (await update(storyboard, Element(id=zoe.id), "trigger_word")).trigger_word == "@Zoé"
    assert (await update(storyboard, Element(id=zoe.id, trigger_word="@ZOÉ"))).trigger_word == "@ZOÉ"
    assert list((await update(storyboard, Element(id=zoe.id), "image_asset_ids")).image_asset_ids) == []

    names = [f"N{number}" for number in range(5)]
    for name in names:
        await made(storyboard, project, name, type=elements_pb2.ELEMENT_TYPE_OBJECT)
    assert await listed(storyboard, project, 2) == ["Zoé", *names]
    await storyboard.elements.DeleteElement(elements_pb2.DeleteElementRequest(element_id=zoe.id))
    assert await listed(storyboard, project) == names
    await storyboard.projects.DeleteProject(projects_pb2.DeleteProjectRequest(project_id=project))
    assert (await refused(listed(storyboard, project)))[0] is grpc.StatusCode.NOT_FOUND
    assert await listed(storyboard, other) == ["Zoë Ray"]
    assert storyboard.process.errors() == []


async def test_what_is_refused_changes_nothing(storyboard: Storyboard, database: Database) -> None:
    project, other = (await storyboard.project()).id, (await storyboard.project()).id
    asset, foreign = (await storyboard.upload(project, png())).id, (await storyboard.upload(other, png())).id
    with database.write() as session:
        row = session.get_one(AssetRow, (await storyboard.upload(project, png())).id)
        row.kind, mask = "mask", row.id
    zoe = await made(storyboard, project, "Zoë", image_asset_ids=[asset])
    ann = await made(storyboard, project, "Ann")
    invalid, missing, taken = (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
    )
    wrong = []
    for fields, status, field in (
        ({"name": ""}, invalid, "element.name"),
        ({"name": " !"}, invalid, "element.name"),
        ({"name": "n" * 201}, invalid, "element.name"),
        ({"type": elements_pb2.ELEMENT_TYPE_UNSPECIFIED}, invalid, "element.type"),
        ({"type": 9}, invalid, "element.type"),
        ({"trigger_word": "@a b"}, invalid, "element.trigger_word"),
        ({"trigger_word": "@"}, invalid, "element.trigger_word"),
        ({"trigger_word": "@ZOË"}, taken, "element.trigger_word"),
        ({"description": "d" * 10_001}, invalid, "element.description"),
        ({"image_asset_ids": [asset, "nothing"]}, missing, "element.image_asset_ids[1]"),
        ({"image_asset_ids": [foreign]}, missing, "element.image_asset_ids[0]"),
        ({"image_asset_ids": [mask]}, invalid, "element.image_asset_ids[0]"),
        ({"image_asset_ids": [asset, asset]}, invalid, "element.image_asset_ids[1]"),
        ({"image_asset_ids": [asset] * 101}, invalid, "element.image_asset_ids"),
        ({"lora": common_pb2.Lora(name="nothing")}, missing, "element.lora.name"),
        ({"lora": common_pb2.Lora(name="x", weight=3)}, invalid, "element.lora.weight"),
    ):
        answers = (
            await refused(made(storyboard, project, **{"name": "Bob", **fields})),
            await refused(update(storyboard, Element(id=ann.id, **fields), *fields)),
        )
        wrong += [(fields, answer) for answer in answers if answer[0] is not status or field not in answer[1]]
    assert wrong == []
    for mask_path in ("id", "created_at", "lora.weight"):
        assert await refused(update(storyboard, Element(id=ann.id), mask_path)) == (invalid, ["update_mask"])
    assert await refused(update(storyboard, Element(id="nothing", name="x"))) == (missing, ["element.id"])
    assert (await refused(made(storyboard, "nothing", "Bob")))[1] == ["project_id"]
    assert await listed(storyboard, project) == ["Zoë", "Ann"]
    assert [await got(storyboard, one.id) for one in (zoe, ann)] == [zoe, ann]
    assert storyboard.process.errors() == []


async def test_only_one_of_those_who_ask_at_once_gets_a_trigger(storyboard: Storyboard) -> None:
    project = (await storyboard.project()).id
    answers = await asyncio.gather(
        *(made(storyboard, project, name) for name in ("Zoë", "ZOË", "zoë", "Zoe\u0308")), return_exceptions=True
    )
    assert [isinstance(answer, BaseException) for answer in answers].count(False) == 1
    assert len(await listed(storyboard, project)) == 1
    assert storyboard.process.errors() == []


async def test_an_asset_that_an_element_shows_is_not_deleted(storyboard: Storyboard) -> None:
    project = (await storyboard.project()).id
    asset = (await storyboard.upload(project, png())).id
    zoe = await made(storyboard, project, "Zoë", image_asset_ids=[asset])
    delete = assets_pb2.DeleteAssetRequest(asset_id=asset)
    with pytest.raises(grpc.aio.AioRpcError, match="Zoë") as caught:
        await storyboard.assets.DeleteAsset(delete)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (await refused(storyboard.assets.DeleteAsset(delete)))[1] == ["asset_id"]
    assert len(await storyboard.download(asset)) > 0
    await update(storyboard, Element(id=zoe.id), "image_asset_ids")
    await storyboard.assets.DeleteAsset(delete)


@ONLY_SQLITE
async def test_the_lora_of_an_element_is_one_of_the_registry(storyboard: Storyboard) -> None:
    for name, purpose in (("zoe", "ic_lora"), ("film", "video")):
        folder = storyboard.home / f"models/tiny/{name}"
        folder.mkdir(parents=True)
        manifest = dict.fromkeys(("checkpoint", "license", "note", "advice"), "")
        write_manifest(folder, manifest | {"name": name, "family": "tiny", "purpose": purpose}, footprints=[])
    project = (await storyboard.project()).id
    zoe = await made(storyboard, project, "Zoë", lora=common_pb2.Lora(name="zoe", weight=0.0))
    assert (zoe.lora.name, zoe.lora.HasField("weight"), zoe.lora.weight) == ("zoe", True, 0.0)
    zoe = await update(storyboard, Element(id=zoe.id, lora=common_pb2.Lora(name="zoe")))
    assert not zoe.lora.HasField("weight")
    assert (await refused(made(storyboard, project, "Ann", lora=common_pb2.Lora(name="film"))))[1] == [
        "element.lora.name"
    ]
    assert not (await update(storyboard, Element(id=zoe.id), "lora")).HasField("lora")


def picture(store: JobStore, project: str, element: str, *, state: JobState) -> str:
    """A job about an element that has stored an image, and ends in this state; the image's id."""
    new = NewJob(kind=JobKind.ELEMENT_VISUAL, subject=Subject(project_id=project, element_id=element), parameters={})
    job, _ = store.submit(new, service="image", worker_address="127.0.0.1:1")
    begun, _ = store.begin_attempt(job.id)
    asset = new_id()
    with store.database.write() as session:
        sizes: dict[str, Any] = dict.fromkeys(("width", "height", "num_frames", "bytes"), 64)
        texts = dict.fromkeys(("name", "media_type", "sha256", "key", "thumbnail_key"), "")
        session.add(
            AssetRow(
                id=asset,
                project_id=project,
                kind="image",
                job_id=job.id,
                artefact="image-0",
                parameters={},
                created_at=job.created_at,
                fps=0.0,
                duration_seconds=0.0,
                **sizes,
                **texts,
            )
        )
    store.finish(job.id, begun.attempt, state)
    return asset


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_picture_belongs_to_its_element_with_the_jobs_success(
    store: JobStore, database: Database, project: str, state: JobState
) -> None:
    """In the transaction that ends the job: there is no moment in which it could get lost."""
    value = elements.Element(project_id=project, name="Zoë", type=elements.ElementType.CHARACTER)
    with database.write() as session:
        zoe = elements.create_element(session, value, loras=())
    made = [picture(store, project, zoe.id, state=state) for _ in range(2)]

    def images() -> list[str]:
        with database.read() as session:
            return list(session.get_one(ElementRow, zoe.id).image_asset_ids)

    assert images() == (made if state is JobState.SUCCEEDED else [])
    # There is room for no more than 100.
    others = [f"other{number}" for number in range(99)]
    with database.write() as session:
        session.get_one(ElementRow, zoe.id).image_asset_ids = others
    made = [picture(store, project, zoe.id, state=state) for _ in range(2)]
    assert images() == [*others, *(made[:1] if state is JobState.SUCCEEDED else [])]
    # Of an element that is gone nothing comes back.
    with database.write() as session:
        elements.delete_element(session, zoe.id)
    picture(store, project, zoe.id, state=state)
    with database.read() as session:
        assert elements.list_elements(session, project, after=None, limit=1) == []
