"""`milimo models`."""

from __future__ import annotations

from typing import Annotated

import typer

from milimo.cli_output import as_document, size_text
from milimo.cli_session import AddressOption, JsonOption, open_session

app = typer.Typer(no_args_is_help=True, help="See which models are installed.")


@app.callback()
def models() -> None:
    """See which models are installed."""


@app.command("list")
def list_models(
    family: Annotated[str, typer.Option(help="Such as real or shapes. Default: the one in use.")] = "",
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """List the models, what is missing, and how to get it."""
    from milimo.v1.models_pb2 import ListModelsRequest

    with open_session(address, json) as session:
        answer = session.client.models.ListModels(ListModelsRequest(family=family, page_size=1000))
        session.output.document(as_document(answer))
        session.output.table(
            ("model", "for", "complete", "files", "memory"),
            [
                (
                    f"{model.family}/{model.name}",
                    model.purpose,
                    "yes" if model.complete else "no",
                    size_text(sum(file.bytes for file in model.files)),
                    ", ".join(f"{grade.name} {size_text(grade.bytes)}" for grade in model.footprints),
                )
                for model in answer.models
            ],
        )
        for model in answer.models:
            for text in filter(None, (model.advice, model.note)):
                session.output.note(f"{model.family}/{model.name}: {text}")
