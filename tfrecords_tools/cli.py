"""The commands of `seghgan data`: make TFRecords of faces; each command imports what it needs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from seghgan_tf import quiet
from seghgan_tf.machine import cores
from tfrecords_tools.convert.cli import Dataset, convert, summarise

app = typer.Typer(no_args_is_help=True)
app.command()(convert)


@app.callback()
def prepare() -> None:
    """Draw, convert, look at and check TFRecords of faces."""
    # Nothing here computes on one, and each worker would take a share.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


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
        Path | None,
        typer.Option(help="Also write a contact sheet: people down, action units across, 160 px or more a face."),
    ] = None,
    sheet_people: Annotated[int, typer.Option(min=1, help="People on the contact sheet.")] = 6,
) -> None:
    """Draw faces with exact masks and action units: no download, no licence, true edits known."""
    from rich.console import Console

    quiet.start_tensorflow()
    from seghgan_tf.progress import progress
    from tfrecords_tools.draw import LEGIBLE, contact_sheet, draw_dataset

    console = Console()
    with progress(console, "draw") as move:
        draw_dataset(output, train, validation, test, size, seed, pairs, move)
    console.print(f"drawn: {output}")
    if sheet is not None:
        contact_sheet(sheet, max(size, LEGIBLE), sheet_people, seed)
        console.print(f"sheet: {sheet}")


@app.command()
def pair(
    dataset: Annotated[Dataset, typer.Argument(help="Whose layout the source has; it must name subjects.")],
    source: Annotated[Path, typer.Argument(help="The data set's folder, as its owner ships it.", file_okay=False)],
    output: Annotated[Path, typer.Argument(help="A new folder for the records.")],
    actions: Annotated[
        Path | None, typer.Option(help="OpenFace CSV; without it photos have the units of their emotion's prototype.")
    ] = None,
    taught: Annotated[
        bool, typer.Option("--taught", help="london: also teach the units that the photos lack, by moving landmarks.")
    ] = False,
    table: Annotated[
        Path | None, typer.Option(help="folder: CSV with filename, subject, and maybe view, label.")
    ] = None,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the pictures in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 1,
    jpeg_quality: Annotated[int, typer.Option(min=0, max=100, help="0 writes PNG.")] = 95,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    min_kept: Annotated[
        float, typer.Option(min=0, max=1, help="Fail where a smaller share of the photos is in a pair.")
    ] = 0.1,
) -> None:
    """Write pairs by person: each photo with a true picture of the same person, in the same view, at another expression.

    Example: seghgan data pair london london_set records/london --actions london_set/aus.csv --taught
    """
    from rich.console import Console

    quiet.start_tensorflow()
    from seghgan_tf.progress import progress
    from tfrecords_tools.actions import ActionTable
    from tfrecords_tools.pairs import convert_pairs

    console = Console()
    with progress(console, "pair") as move:
        description = convert_pairs(
            dataset.value, source, output, actions=None if actions is None else ActionTable(str(actions)), taught=taught,
            size=size, seed=seed, jpeg_quality=jpeg_quality, workers=workers or cores(),
            options={} if table is None else {"table": table}, min_kept=min_kept, progress=move,
        )  # fmt: skip
    summarise(console, output, description, quiet=False)


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="Folder of records.", exists=True, file_okay=False)],
    html: Annotated[Path | None, typer.Option(help="Also write a report with pictures, one file.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Records of each split to look at.")] = 50_000,
) -> None:
    """Say what a folder of records holds: splits, subjects, masks, action units, labels, rejects."""
    from rich.console import Console

    quiet.start_tensorflow()
    from tfrecords_tools.inspect import overview, print_overview

    found = overview(folder, limit)
    console = Console()
    print_overview(console, folder, found)
    if html is not None:
        from tfrecords_tools.report import write_report

        write_report(html, folder, found)
        console.print(f"report: {html}")


@app.command()
def validate(
    folder: Annotated[Path, typer.Argument(help="Folder of records.", exists=True, file_okay=False)],
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 takes every core.")] = 0,
    show: Annotated[int, typer.Option(min=1, help="Problems to print at most.")] = 50,
) -> None:
    """Check digests, every record and picture, ids, ranges, label order, and that subjects stay in one split. Status 1 for problems."""
    from rich.console import Console

    quiet.start_tensorflow()
    from seghgan_tf.progress import progress
    from tfrecords_tools.validate import validate as find_problems

    console, odd = Console(), list[str]()
    with progress(console, "validate") as move:
        problems = find_problems(folder, workers or cores(), move, odd.append)
    for line in odd:
        console.print(line, markup=False, highlight=False)
    for problem in problems[:show]:
        console.print(problem, markup=False, highlight=False)
    if problems:
        console.print(f"{folder}: {len(problems)} problems")
        raise typer.Exit(1)
    console.print(f"{folder}: sound")


@app.command()
def merge(
    output: Annotated[Path, typer.Argument(help="A new folder.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders of records.", exists=True, file_okay=False)],
) -> None:
    """Merge folders of records whose expression spaces have something in common into one."""
    from rich.console import Console

    quiet.start_tensorflow()
    from seghgan_tf.progress import progress
    from tfrecords_tools.merge import merge as merge_folders

    console = Console()
    with progress(console, "merge") as move:
        description = merge_folders(folders, output, move)
    summarise(console, output, description, quiet=False)
