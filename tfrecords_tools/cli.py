"""The commands of `seghgan data`: make TFRecords of faces; each command imports what it needs."""

import enum
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True)


@app.callback()
def prepare() -> None:
    """Draw, convert, look at and check TFRecords of faces."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault(
        "CUDA_VISIBLE_DEVICES", "-1"
    )  # nothing here computes on one, and each worker would take a share


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

    from tfrecords_tools.draw import LEGIBLE, contact_sheet, draw_dataset
    from tfrecords_tools.progress import progress

    console = Console()
    with progress(console, "draw") as move:
        draw_dataset(output, train, validation, test, size, seed, pairs, move)
    console.print(f"drawn: {output}")
    if sheet is not None:
        contact_sheet(sheet, max(size, LEGIBLE), sheet_people, seed)
        console.print(f"sheet: {sheet}")


class Dataset(enum.StrEnum):
    """The data sets with a reader."""

    celebamask = "celebamask"
    affectnet = "affectnet"
    rafd = "rafd"
    london = "london"
    folder = "folder"


class Align(enum.StrEnum):
    """How faces are brought to one frame."""

    auto = "auto"
    none = "none"
    landmarks = "landmarks"
    mtcnn = "mtcnn"


class Faces(enum.StrEnum):
    """What to do with several faces in a photo."""

    largest = "largest"
    all = "all"
    error = "error"


class OnError(enum.StrEnum):
    """What to do with files that cannot be used."""

    report = "report"
    skip = "skip"
    fail = "fail"


class Runner(enum.StrEnum):
    """Where the work is done."""

    local = "local"
    beam = "beam"


class LabelOrder(enum.StrEnum):
    """The class orders in use for prepared label maps."""

    g_mask = "g_mask"
    bisenet = "bisenet"


PICTURES, EXPRESSIONS, SPLITS, WORK, ONE = "Pictures", "Expressions", "Splits and shards", "Work", "For one data set"


@app.command()
def convert(
    dataset: Annotated[Dataset, typer.Argument(help="Whose layout the source has; `folder` is any tree of images.")],
    source: Annotated[Path, typer.Argument(help="The data set's folder, as its owner ships it.", file_okay=False)],
    output: Annotated[Path, typer.Argument(help="Folder for the records; the same command again goes on in it.")],
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the pictures in pixels; without it they stay as they are.", rich_help_panel=PICTURES
        ),
    ] = None,
    align: Annotated[
        Align,
        typer.Option(
            help="How faces come to CelebA-HQ's frame: by the data set's landmarks (mtcnn where it has none), by mtcnn, or not "
            "(central square). auto: landmarks for london and affectnet, mtcnn for rafd, none for the others.",
            rich_help_panel=PICTURES,
        ),
    ] = Align.auto,
    faces: Annotated[
        Faces, typer.Option(help="Several faces found by mtcnn: which to take.", rich_help_panel=PICTURES)
    ] = Faces.largest,
    margin: Annotated[
        float, typer.Option(help="Widen the frame by this share of its side on each side.", rich_help_panel=PICTURES)
    ] = 0.0,
    jpeg_quality: Annotated[
        int,
        typer.Option(min=0, max=100, help="Of pictures that had to change; 0 writes PNG.", rich_help_panel=PICTURES),
    ] = 95,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="Larger photos are refused before they are decoded.", rich_help_panel=PICTURES),
    ] = 64_000_000,
    actions: Annotated[
        Path | None,
        typer.Option(help="OpenFace CSV, or a folder of them, to join by file name.", rich_help_panel=EXPRESSIONS),
    ] = None,
    au: Annotated[
        list[str] | None,
        typer.Option(
            "--au",
            help="Action units to take, as AU04,AU12; all the table has if not given.",
            rich_help_panel=EXPRESSIONS,
        ),
    ] = None,
    au_scale: Annotated[
        int | None,
        typer.Option(
            help="Largest intensity in the table, 5 or 1; not given, it is checked to be 5.",
            rich_help_panel=EXPRESSIONS,
        ),
    ] = None,
    au_extractor: Annotated[
        str,
        typer.Option(help="What measured them, as 'OpenFace 2.2.0': kept with the data.", rich_help_panel=EXPRESSIONS),
    ] = "",
    min_confidence: Annotated[
        float,
        typer.Option(min=0, max=1, help="Rows less certain than this say nothing.", rich_help_panel=EXPRESSIONS),
    ] = 0.7,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Fraction or number of photos, by whole subjects. 0.05 if the data set has no split of its own.",
            rich_help_panel=SPLITS,
        ),
    ] = None,
    test: Annotated[float | None, typer.Option(help="As --validation.", rich_help_panel=SPLITS)] = None,
    seed: Annotated[int, typer.Option(help="Decides the splits and the order of records.", rich_help_panel=SPLITS)] = 0,
    shard_size: Annotated[int, typer.Option(min=1, help="Records a shard, at most.", rich_help_panel=SPLITS)] = 1024,
    append: Annotated[
        bool, typer.Option("--append", help="Add what a finished folder does not have.", rich_help_panel=SPLITS)
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Processes; 0 takes every core. The records do not depend on it.", rich_help_panel=WORK
        ),
    ] = 0,
    on_error: Annotated[
        OnError,
        typer.Option(
            help="report: keep the good, list the bad in rejected.csv and here. skip: the same without the list here. fail: stop.",
            rich_help_panel=WORK,
        ),
    ] = OnError.report,
    runner: Annotated[
        Runner, typer.Option(help="beam needs pip install 'seghgan-tf[beam]'.", rich_help_panel=WORK)
    ] = Runner.local,
    beam_args: Annotated[
        str,
        typer.Option(
            help="Apache Beam's pipeline options, in quotes, and ours: --mount=/mnt/faces=gs://faces for workers that see a bucket.",
            rich_help_panel=WORK,
        ),
    ] = "",
    label_order: Annotated[
        LabelOrder | None,
        typer.Option(help="celebamask, folder: class order of prepared label maps.", rich_help_panel=ONE),
    ] = None,
    camera: Annotated[
        list[int] | None, typer.Option(help="rafd: only these cameras (0 45 90 135 180).", rich_help_panel=ONE)
    ] = None,
    gaze: Annotated[
        list[str] | None, typer.Option(help="rafd: only these gazes (frontal left right).", rich_help_panel=ONE)
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="folder: CSV with filename and any of label, AU01_r.., valence, arousal, mask, subject, split.",
            rich_help_panel=ONE,
        ),
    ] = None,
) -> None:
    """Turn a data set into verified TFRecords; the same command again goes on where it was cut.

    Examples: seghgan data convert celebamask CelebAMask-HQ records/celebamask --size 128

    seghgan data convert london london_set records/london --size 128 --actions aus.csv --au AU12,AU25 --test 0.2
    """
    from rich.console import Console

    from tfrecords_tools.actions import ActionTable
    from tfrecords_tools.convert.local import default_workers
    from tfrecords_tools.convert.plan import Conversion
    from tfrecords_tools.convert.run import convert as convert_dataset
    from tfrecords_tools.faces import Picturing, default_align
    from tfrecords_tools.progress import progress

    given = {
        "label_order": label_order and label_order.value,
        "cameras": camera,
        "gazes": gaze,
        "table": table and str(table),
    }
    joined = None
    if actions is not None:
        units = tuple(unit.strip() for text in au or () for unit in text.split(","))
        joined = ActionTable(str(actions), units, min_confidence, au_scale, au_extractor)
    elif au or au_scale or au_extractor:
        raise typer.BadParameter("--au, --au-scale and --au-extractor belong to --actions.")
    conversion = Conversion(
        dataset.value,
        str(source),
        Picturing(
            size, default_align(dataset.value) if align is Align.auto and size else align.value.replace("auto", "none"),
            faces.value, margin, max_pixels, jpeg_quality,
        ),
        {key: value for key, value in given.items() if value},
        joined, validation, test, seed, shard_size,
    )  # fmt: skip
    console = Console()
    try:
        with progress(console, "convert") as move:
            description = convert_dataset(
                conversion, output, workers=workers or default_workers(), on_error=on_error.value, append=append,
                beam_args=shlex.split(beam_args) if runner is Runner.beam else None, progress=move,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print("stopped; what is finished is kept, and the same command goes on")
        raise typer.Exit(130) from None
    _summarise(console, output, description, quiet=on_error is OnError.skip)


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
) -> None:
    """Write pairs by person: each photo with a true picture of the same person, in the same view, at another expression.

    Example: seghgan data pair london london_set records/london --actions london_set/aus.csv --taught
    """
    from rich.console import Console

    from tfrecords_tools.actions import ActionTable
    from tfrecords_tools.convert.local import default_workers
    from tfrecords_tools.pairs import convert_pairs
    from tfrecords_tools.progress import progress

    console = Console()
    with progress(console, "pair") as move:
        description = convert_pairs(
            dataset.value, source, output, actions=None if actions is None else ActionTable(str(actions)), taught=taught,
            size=size, seed=seed, jpeg_quality=jpeg_quality, workers=workers or default_workers(),
            options={} if table is None else {"table": str(table)}, progress=move,
        )  # fmt: skip
    _summarise(console, output, description, quiet=False)


def _summarise(console: "Console", output: Path, description: dict[str, Any], quiet: bool) -> None:
    """Say what a folder holds, and what was left out."""
    counts = ", ".join(f"{split} {entry['examples']}" for split, entry in description["splits"].items())
    console.print(
        f"{output}: {counts}; with masks {description['masks']}, with action units {description['with_units']}"
    )
    for what, key in (("excluded", "excluded"), ("rejected", "rejected")):
        for each in () if quiet else description[key]:
            console.print(f"{what}: {each['count']} {each['reason']}")
    if (output / "rejected.csv").is_file() and not quiet:
        console.print(f"each rejected file and why: {output / 'rejected.csv'}")
    for what, count in description.get("actions", {}).items():
        console.print(f"action units, photos {what}: {count}")
    console.print(f"next: seghgan data inspect {output}; seghgan data validate {output}")


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="Folder of records.", exists=True, file_okay=False)],
    html: Annotated[Path | None, typer.Option(help="Also write a report with pictures, one file.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Records of each split to look at.")] = 50_000,
) -> None:
    """Say what a folder of records holds: splits, subjects, masks, action units, labels, rejects."""
    from rich.console import Console

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

    from tfrecords_tools.convert.local import default_workers
    from tfrecords_tools.progress import progress
    from tfrecords_tools.validate import validate as find_problems

    console = Console()
    with progress(console, "validate") as move:
        problems = find_problems(folder, workers or default_workers(), move)
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

    from tfrecords_tools.merge import merge as merge_folders
    from tfrecords_tools.progress import progress

    console = Console()
    with progress(console, "merge") as move:
        description = merge_folders(folders, output, move)
    _summarise(console, output, description, quiet=False)
