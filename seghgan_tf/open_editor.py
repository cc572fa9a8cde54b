"""Which model edits, from a command's options: one that comes with the package, an export, or one on a server."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seghgan_tf import quiet
from serving.cli import asked, taking

if TYPE_CHECKING:
    from seghgan_tf.editing import Editor, Run
    from serving.client import SegHGANClient


@taking("about", asked)
def open_editor(
    about: Callable[[], dict[str, Any]],
    preset: Annotated[
        str | None,
        typer.Option(
            help="A model that comes with the package (portrait-128 for photographs, drawn-64), or an .npz file of weights; what edits where neither --export nor --server is given."
        ),
    ] = None,
    export_dir: Annotated[
        Path | None, typer.Option("--export", help="Folder that `seghgan export` wrote; edits in this process.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Edit over gRPC on a running server instead.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "seghgan",
    space: Annotated[
        str | None,
        typer.Option(
            help="Labels of a server's model that an earlier version exported: aus, emotions, va or AU04,AU12,..."
        ),
    ] = None,
) -> "Editor":
    """Return what edits: a packaged model where neither an export nor a server is named. Raises BadParameter for several."""
    if sum(one is not None for one in (preset, export_dir, server)) > 1:
        raise typer.BadParameter("give one of --preset NAME, --export DIR and --server HOST:PORT")
    if server is None:
        quiet.start_tensorflow()
    from seghgan_tf.editing import PRESET, Editor

    if export_dir is not None:
        return Editor.from_export(export_dir)
    if server is None:
        return Editor.from_preset(preset or PRESET)
    from seghgan_tf.expressions import expression_space, labelled_space
    from seghgan_tf.regions import COLUMNS
    from serving.client import SegHGANClient

    client = SegHGANClient(server, model=model, **about())
    served = client.served()
    expression = expression_space(space) if space else labelled_space(client.labels())
    if expression.size != served.expression_size:
        raise typer.BadParameter(
            f"--space must have the model's {served.expression_size} labels. Received: {expression.size}, {space}"
        )
    description = {"image_size": served.image_size, "regions": COLUMNS, "expression": expression.to_json()}
    return Editor(description, calling(client), finds_faces="locate" in served.signatures)


def calling(client: "SegHGANClient") -> "Run":
    """Return a Run of a server's signatures; ValueError for what another photo, or later, may be answered."""
    from serving.client.errors import AccessDenied, ClientError, ModelNotFound, ServerUnavailable

    def run(signature: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return client.predict(signature, inputs).outputs
        except (AccessDenied, ModelNotFound, ServerUnavailable):
            raise
        except ClientError as error:
            raise ValueError(str(error)) from error

    return run
