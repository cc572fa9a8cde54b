"""The commands of `seghgan data`: make TFRecords of faces; each command imports what it needs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def draw(
    output: Annotated[Path, typer.Argument(help="A new folder for the records.")],
    train: Annotated[int, typer.Option(min=0, help="Faces of the training split.")] = 2000,
    validation: Annotated[int, typer.Option(min=0, help="Faces of the validation split.")] = 100,
    test: Annotated[int, typer.Option(min=0, help="Faces of the test split.")] = 100,
    size: Annotated[int, typer.Option(min=64, max=512, help="Side of the images in pixels.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed draws the same bytes.")] = 1,
    pairs: Annotated[bool, typer.Option(help="Also draw each person's true picture at other action units.")] = True,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet: people down, action units across.")
    ] = None,
    sheet_people: Annotated[int, typer.Option(min=1, help="People on the contact sheet.")] = 6,
) -> None:
    """Draw faces with exact masks and action units: no download, no licence, true edits known."""
    from rich.console import Console
    from rich.progress import Progress

    from tfrecords_tools.draw import contact_sheet, draw_dataset

    console = Console()
    with Progress(console=console) as bar:
        task = bar.add_task("draw", total=train + validation + test)
        draw_dataset(
            output, train, validation, test, size, seed, pairs, lambda done, _: bar.update(task, completed=done)
        )
    console.print(f"drawn: {output}")
    if sheet is not None:
        contact_sheet(sheet, size, sheet_people, seed)
        console.print(f"sheet: {sheet}")
