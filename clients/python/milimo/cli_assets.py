"""`milimo assets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milimo.cli_output import as_document, size_text, word
from milimo.cli_project import find_project
from milimo.cli_results import check_out, out_paths
from milimo.cli_session import AddressOption, JsonOption, ProjectOption, open_session
from milimo.cli_words import AssetKindWord, asset_kind_of

app = typer.Typer(no_args_is_help=True, help="Move media in and out.")


@app.command("list")
def list_assets(
    project: ProjectOption = None,
    kind: Annotated[AssetKindWord | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 50,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """List a project's media, newest first."""
    from milimo.v1.assets_pb2 import AssetKind, ListAssetsRequest

    with open_session(address, json) as session:
        project_id = find_project(session, project)
        request = ListAssetsRequest(project_id=project_id, kind=asset_kind_of(kind), page_size=limit)
        answer = session.client.assets.ListAssets(request)
        session.output.document(as_document(answer))
        session.output.table(
            ("id", "kind", "size", "frames", "bytes", "name"),
            [
                (
                    asset.id,
                    word(AssetKind.Name(asset.kind), "ASSET_KIND_"),
                    f"{asset.width}×{asset.height}" if asset.width else "",
                    str(asset.num_frames or ""),
                    size_text(asset.bytes),
                    asset.name,
                )
                for asset in answer.assets
            ],
        )


@app.command("upload")
def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Images, videos or sounds.")],
    project: ProjectOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Store local files in a project and print their ids."""
    with open_session(address, json) as session:
        project_id = find_project(session, project)
        assets = []
        for file in files:
            assets.append(session.client.upload(file, project_id=project_id))
            session.output.text(assets[-1].id)
        session.output.document({"assets": [as_document(asset) for asset in assets]})


@app.command("download")
def download(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The asset's id.")],
    out: Annotated[Path | None, typer.Option(help="File or folder. Default: the asset's name, here.")] = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Write an asset to a local file, and print its path."""
    from milimo.v1.assets_pb2 import GetAssetRequest

    check_out(out)
    with open_session(address, json) as session:
        found = session.client.assets.GetAsset(GetAssetRequest(asset_id=asset)).asset
        # The name comes from whoever uploaded it: only its last part can be trusted to stay in the folder.
        name = Path(found.name).name or asset
        path = session.client.download(asset, out_paths([found], out, name)[0])
        session.output.document({"file": str(path), "asset": as_document(found)})
        session.output.text(str(path))
