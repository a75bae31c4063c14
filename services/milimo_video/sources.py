"""What a video is made from: the images and videos of its request, decoded as far as each chunk needs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from milimo_runtime.assets import require_asset
from milimo_runtime.images import decode_image

from milimo_video.footage import Fit, read_clip, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from milimo_runtime.model_process import ModelProcess
    from numpy.typing import NDArray

    from milimo_video.chunk import Chunk
    from milimo_video.loaded import LoadedVideo
    from milimo_video.material import Material
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class Piece:
    """`count` frames of a video asset from a time on. `field` of the request names the asset."""

    asset_id: str
    field: str
    start_s: float
    count: int
    fit: Fit


def lead_piece(request: VideoRequest, plan: VideoPlan) -> Piece | None:
    """The frames that the first chunk goes on from; none for a video that begins anew."""
    lead = plan.chunks[0].span.overlap if plan.chunks else 0
    if not lead:
        return None
    if request.extension is not None:
        start_s = max(0.0, request.extension.seconds - lead / plan.fps)
        return Piece(
            asset_id=request.extension.asset_id,
            field="video.extend_asset_id",
            start_s=start_s,
            count=lead,
            fit=_place_of_result(plan),
        )
    return _of_retake(request, plan, plan.first_frame - lead, lead)


def trail_piece(request: VideoRequest, plan: VideoPlan) -> Piece | None:
    """The frames that the last chunk leads to: those behind a retake."""
    if not plan.trail:
        return None
    return _of_retake(request, plan, plan.first_frame + plan.new_frames, plan.trail)


def condition_pieces(request: VideoRequest, plan: VideoPlan, chunk: Chunk) -> Mapping[str, Piece]:
    """What a chunk needs of the videos among its conditions, by `ChunkCondition.key`."""
    pieces: dict[str, Piece] = {}
    for placed in chunk.conditions:
        condition = request.conditions[placed.index]
        if condition.kind == "image":
            continue
        piece = Piece(
            asset_id=condition.asset_id,
            field=f"video.conditions[{placed.index}].asset_id",
            start_s=placed.read_from / plan.fps,
            count=placed.frames,
            fit=Fit(width=plan.model_width, height=plan.model_height),
        )
        key = placed.key(condition.asset_id)
        known = pieces.setdefault(key, piece)
        pieces[key] = replace(known, count=max(known.count, piece.count))
    return pieces


def read_piece(process: ModelProcess[LoadedVideo], plan: VideoPlan, piece: Piece) -> NDArray[np.uint8]:
    """RGB bytes [count, height, width, 3]. Raises NotFound, and InvalidArgument for a video that cannot be read."""
    with process.database.read() as session:
        asset = require_asset(session, piece.asset_id, field_name=piece.field)
    with process.media.local(asset.key, scratch=process.scratch) as path:
        return read_clip(path, start_s=piece.start_s, count=piece.count, fps=plan.fps, fit=piece.fit, field=piece.field)


def require_readable(process: ModelProcess[LoadedVideo], request: VideoRequest, plan: VideoPlan) -> None:
    """Decodes what the first and the last chunk to need it will read of each video, and keeps none of it.

    What lies between may be long, and is found out by its own chunk. Raises as `read_piece`.
    """
    for piece in _first_and_last_pieces(request, plan):
        with process.database.read() as session:
            asset = require_asset(session, piece.asset_id, field_name=piece.field)
        with process.media.local(asset.key, scratch=process.scratch) as path:
            # Small: whether they can be decoded does not depend on their size.
            fit = Fit(width=2, height=2)
            for _ in read_frames(
                path, start_s=piece.start_s, count=piece.count, fps=plan.fps, fit=fit, field=piece.field
            ):
                pass


def chunk_material(
    process: ModelProcess[LoadedVideo], request: VideoRequest, plan: VideoPlan, chunk: Chunk
) -> Mapping[str, Material]:
    """The images and videos of a chunk's conditions, by `ChunkCondition.key`.

    Raises NotFound when one was deleted meanwhile, InvalidArgument when one cannot be read.
    """
    material: dict[str, Material] = {}
    pictures = [placed.index for placed in chunk.conditions if request.conditions[placed.index].kind == "image"]
    with process.database.read() as session:
        assets = [
            require_asset(session, request.conditions[index].asset_id, field_name=f"video.conditions[{index}].asset_id")
            for index in pictures
        ]
    for asset in assets:
        with process.media.local(asset.key, scratch=process.scratch) as path:
            material[asset.id] = decode_image(path, field="video.conditions")
    for key, piece in condition_pieces(request, plan, chunk).items():
        material[key] = read_piece(process, plan, piece)
    return material


def _first_and_last_pieces(request: VideoRequest, plan: VideoPlan) -> Iterator[Piece]:
    by_chunk = [condition_pieces(request, plan, chunk).values() for chunk in plan.chunks]
    # By asset: the last that is named stays.
    first = {piece.asset_id: piece for pieces in reversed(by_chunk) for piece in pieces}
    last = {piece.asset_id: piece for pieces in by_chunk for piece in pieces}
    found = (lead_piece(request, plan), trail_piece(request, plan), *first.values(), *last.values())
    return (piece for piece in dict.fromkeys(found) if piece is not None)


def _of_retake(request: VideoRequest, plan: VideoPlan, first: int, count: int) -> Piece:
    assert request.retake is not None
    return Piece(
        asset_id=request.retake.asset_id,
        field="video.retake.asset_id",
        start_s=first / plan.fps,
        count=count,
        fit=_place_of_result(plan),
    )


def _place_of_result(plan: VideoPlan) -> Fit:
    return Fit(width=plan.width, height=plan.height, canvas=(plan.model_width, plan.model_height))
