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


@app.command()
def convert(
    dataset: Annotated[str, typer.Argument(metavar="celebamask|london", help="Layout of the source.")],
    source: Annotated[Path, typer.Argument(help="The dataset as its owner ships it.", exists=True, file_okay=False)],
    output: Annotated[Path, typer.Argument(help="Folder for the records; the same command goes on where it was cut.")],
    size: Annotated[int | None, typer.Option(min=32, help="Side of the images; kept as they are if not given.")] = None,
    actions: Annotated[
        Path | None, typer.Option(help="OpenFace's CSV with AU12_r, ... by filename.", exists=True)
    ] = None,
    au: Annotated[
        list[str] | None, typer.Option(metavar="AU12", help="Take only these action units; repeat for more.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Leave out OpenFace rows under this confidence.")] = 0.8,
    validation: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the validation split, by subject where known.")
    ] = 0.05,
    test: Annotated[float, typer.Option(min=0, max=0.5, help="Share of the test split.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the shards do not depend on it.")] = 1,
    on_error: Annotated[
        str, typer.Option(metavar="report|fail", help="Put a bad face into rejected.csv, or stop at it.")
    ] = "report",
) -> None:
    """Convert a dataset to TFRecords with masks, action units and splits by subject."""
    import importlib

    from rich.console import Console
    from rich.progress import Progress

    from tfrecords_tools.actions import read_actions
    from tfrecords_tools.write import Plan
    from tfrecords_tools.write import convert as write

    if dataset not in ("celebamask", "london"):
        raise typer.BadParameter(f"the dataset must be celebamask or london. Received: {dataset}")
    if on_error not in ("report", "fail"):
        raise typer.BadParameter(f"--on-error must be report or fail. Received: {on_error}")
    items = importlib.import_module(f"tfrecords_tools.readers.{dataset}").read(source)
    chosen = {"names": tuple(au)} if au else {}
    joined = read_actions(actions, confidence, **chosen) if actions else None
    console = Console()
    with Progress(console=console) as bar:
        task = bar.add_task("convert", total=None)
        plan = Plan(dataset, size, validation, test, seed, tuple(au or ()))
        made = write(
            items,
            output,
            plan,
            joined,
            workers,
            on_error,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    counts = ", ".join(f"{name} {split['examples']}" for name, split in made["splits"].items())
    console.print(
        f"converted: {output} ({counts}); rejected: {sum(made['rejected'].values())}, listed in {output / 'rejected.csv'}"
    )
