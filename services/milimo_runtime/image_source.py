"""The image that a request brings in its message or names by asset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from milimo_runtime.assets import AssetKind, require_asset
from milimo_runtime.errors import InvalidArgument
from milimo_runtime.images import decode_image

if TYPE_CHECKING:
    from milimo.v1 import common_pb2
    from PIL.Image import Image

    from milimo_runtime.model_process import ModelProcess


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded image, and a digest of the file that it was."""

    image: Image
    key: str


def read_picture(process: ModelProcess[Any], source: common_pb2.ImageSource, *, field: str = "image") -> Picture:
    """The image of the request's `field`, decoded under the limits of `decode_image`. Blocking.

    Raises:
        NotFound: there is no such asset.
        InvalidArgument: it is no image, or one that cannot be decoded.
    """
    if source.WhichOneof("source") == "content":
        image = decode_image(source.content, field=f"{field}.content")
        return Picture(image=image, key=hashlib.sha256(source.content).hexdigest())
    name = f"{field}.asset_id"
    with process.database.read() as session:
        asset = require_asset(session, source.asset_id, field_name=name)
    if asset.kind not in (AssetKind.IMAGE, AssetKind.MASK):
        raise InvalidArgument(name, f"is a {asset.kind}; an image is expected")
    with process.media.local(asset.key, scratch=process.scratch) as path:
        return Picture(image=decode_image(path, field=name), key=asset.sha256)
