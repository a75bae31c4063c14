"""What a video is made from: the images and videos of its request, decoded as far as each chunk needs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from milimo_runtime.assets import require_asset
from milimo_runtime.images import decode_image

from milimo_video.footage import Fit, read_clip, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from milimo_runtime.model_process import ModelProcess
    from numpy.typing import NDArray

    from milimo_video.conditioning import Material
    from milimo_video.loaded import LoadedVideo
    from milimo_video.plan import Chunk, VideoPlan
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


def condition_pieces(request: VideoRequest, plan: VideoPlan, chunk: Chunk) -> list[Piece]:
    """The videos among the conditions of a chunk, each asset once and as long as it is needed."""
    pieces: dict[str, Piece] = {}
    for placed in chunk.conditions:
        condition = request.conditions[placed.index]
        if condition.kind == "image":
            continue
        piece = Piece(
            asset_id=condition.asset_id,
            field=f"video.conditions[{placed.index}].asset_id",
            start_s=0.0,
            count=placed.frames,
            fit=Fit(width=plan.model_width, height=plan.model_height),
        )
        known = pieces.setdefault(condition.asset_id, piece)
        pieces[condition.asset_id] = replace(known, count=max(known.count, piece.count))
    return list(pieces.values())


def read_piece(process: ModelProcess[LoadedVideo], plan: VideoPlan, piece: Piece) -> NDArray[np.uint8]:
    """RGB bytes [count, height, width, 3]. Raises NotFound, and InvalidArgument for a video that cannot be read."""
    with process.database.read() as session:
        asset = require_asset(session, piece.asset_id, field_name=piece.field)
    with process.media.local(asset.key, scratch=process.scratch) as path:
        return read_clip(path, start_s=piece.start_s, count=piece.count, fps=plan.fps, fit=piece.fit, field=piece.field)


def require_readable(process: ModelProcess[LoadedVideo], request: VideoRequest, plan: VideoPlan) -> None:
    """Decodes what the chunks will need of videos, and keeps none of it. Raises as `read_piece`."""
    for piece in _all_pieces(request, plan):
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
    """The images and videos of a chunk's conditions by asset id.

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
    for piece in condition_pieces(request, plan, chunk):
        material[piece.asset_id] = read_piece(process, plan, piece)
    return material


def _all_pieces(request: VideoRequest, plan: VideoPlan) -> Iterator[Piece]:
    found: Iterable[Piece | None] = (
        lead_piece(request, plan),
        trail_piece(request, plan),
        *(piece for chunk in plan.chunks for piece in condition_pieces(request, plan, chunk)),
    )
    return (piece for piece in found if piece is not None)


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
