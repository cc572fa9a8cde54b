"""The command `seghgan data convert`; the readers' own options come from READERS."""

import shlex
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seghgan_tf import quiet
from seghgan_tf.machine import cores
from tfrecords_tools.readers import READERS, Option

if TYPE_CHECKING:
    from rich.console import Console

Dataset = StrEnum("Dataset", list(READERS))  # type: ignore[misc]
AUTO = ", ".join(f"{reader.align} for {name}" for name, reader in READERS.items() if reader.align != "none")

pictures = partial(typer.Option, rich_help_panel="Pictures")
expressions = partial(typer.Option, rich_help_panel="Expressions")
splits = partial(typer.Option, rich_help_panel="Splits and shards")
work = partial(typer.Option, rich_help_panel="Work")
for_one = partial(typer.Option, rich_help_panel="For one data set")


def with_reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes **options those of all READERS, so that `--help` shows them."""
    users: dict[str, list[str]] = {}
    kinds: dict[str, Option] = {}
    for dataset, reader in READERS.items():
        for name, option in reader.options.items():
            users.setdefault(name, []).append(dataset)
            kinds[name] = option
    told = signature(command)
    kept = [each for each in told.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    for name, option in kinds.items():
        help_text = f"{', '.join(users[name])}: {option.help}"
        kind = Annotated[option.kind | None, for_one(help=help_text)]  # type: ignore[name-defined]
        kept.append(Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    command.__signature__ = told.replace(parameters=kept)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in kept}
    return command


def shares(text: str) -> tuple[int, int]:
    """Parse I/N."""
    index, _, machines = text.partition("/")
    if not (index.isdecimal() and machines.isdecimal()):
        raise typer.BadParameter(f"must be like 0/8. Received: {text}")
    return int(index), int(machines)


@with_reader_options
def convert(
    dataset: Annotated[Dataset, typer.Argument(help="Whose layout the source has; `folder` is any tree of images.")],
    source: Annotated[Path, typer.Argument(help="The data set's folder, as its owner ships it.", file_okay=False)],
    output: Annotated[Path, typer.Argument(help="Folder for the records; the same command again goes on in it.")],
    size: Annotated[
        int | None, pictures(help="Side of the pictures in pixels; without it they stay as they are.")
    ] = None,
    align: Annotated[
        Literal["auto", "none", "landmarks", "mtcnn"],
        pictures(
            help="How faces come to CelebA-HQ's frame: by the data set's landmarks (mtcnn where it has none), by mtcnn, or not "
            f"(central square). auto, where --size is given: {AUTO}; none for the others."
        ),
    ] = "auto",
    faces: Annotated[
        Literal["largest", "all", "error"], pictures(help="Several faces found by mtcnn: which to take.")
    ] = "largest",
    margin: Annotated[float, pictures(help="Widen the frame by this share of its side on each side.")] = 0.0,
    jpeg_quality: Annotated[int, pictures(min=0, max=100, help="Of pictures that had to change; 0 writes PNG.")] = 95,
    max_pixels: Annotated[int, pictures(min=1, help="Larger photos are refused before they are decoded.")] = 64_000_000,
    drawn_on: Annotated[
        Literal["raw", "upright"] | None,
        pictures(
            help="Were masks and landmarks of photos that an EXIF tag turns drawn on the raw raster or the upright picture? Not said, such photos are rejected."
        ),
    ] = None,
    actions: Annotated[
        Path | None, expressions(help="OpenFace CSV, or a folder of them, to join by file name.")
    ] = None,
    au: Annotated[
        list[str] | None,
        expressions("--au", help="Action units to take, as AU04,AU12; all the table has if not given."),
    ] = None,
    au_scale: Annotated[
        int | None, expressions(help="Largest intensity in the table, 5 or 1; not given, it is checked to be 5.")
    ] = None,
    au_extractor: Annotated[str, expressions(help="What measured them, as 'OpenFace 2.2.0': kept with the data.")] = "",
    min_confidence: Annotated[float, expressions(min=0, max=1, help="Rows less certain than this say nothing.")] = 0.7,
    validation: Annotated[
        float | None,
        splits(help="Fraction or number of photos, by whole subjects. 0.05 if the data set has no split of its own."),
    ] = None,
    test: Annotated[float | None, splits(help="As --validation.")] = None,
    seed: Annotated[int, splits(help="Decides the splits and the order of records.")] = 0,
    shard_size: Annotated[int, splits(min=1, help="Records a shard, at most.")] = 1024,
    append: Annotated[bool, splits("--append", help="Add what a finished folder does not have.")] = False,
    workers: Annotated[int, work(min=0, help="Processes; 0 takes every core. The records do not depend on it.")] = 0,
    on_error: Annotated[
        Literal["report", "skip", "fail"],
        work(
            help="report: keep the good, list the bad in rejected.csv and here. skip: the same without the list here. fail: stop."
        ),
    ] = "report",
    runner: Annotated[Literal["local", "beam"], work(help="beam needs pip install 'seghgan-tf[beam]'.")] = "local",
    beam_args: Annotated[
        str,
        work(
            help="Apache Beam's pipeline options, in quotes, and ours: --mount=/mnt/faces=gs://faces for workers that see a bucket."
        ),
    ] = "",
    shard: Annotated[
        str,
        work(
            help="I/N: make only this machine's share of the shards, as 0/8 of eight, in a folder of its own; merge joins them."
        ),
    ] = "0/1",
    min_kept: Annotated[
        float, work(min=0, max=1, help="Fail where a smaller share of the photos could be used.")
    ] = 0.1,
    **options: Any,
) -> None:
    """Turn a data set into verified TFRecords; the same command again goes on where it was cut.

    Examples: seghgan data convert celebamask CelebAMask-HQ records/celebamask --size 128

    seghgan data convert london london_set records/london --size 128 --actions aus.csv --au AU12,AU25 --test 0.2
    """
    from rich.console import Console

    quiet.start_tensorflow()
    from seghgan_tf.progress import progress
    from tfrecords_tools.actions import ActionTable
    from tfrecords_tools.convert.conversion import Conversion
    from tfrecords_tools.convert.run import convert as convert_dataset
    from tfrecords_tools.faces import Picturing

    how = READERS[dataset.value].align if align == "auto" and size else align.replace("auto", "none")
    given = {name: value for name, value in options.items() if value}
    joined = None
    if actions is not None:
        units = tuple(unit.strip() for text in au or () for unit in text.split(","))
        joined = ActionTable(str(actions), units, min_confidence, au_scale, au_extractor)
    elif au or au_scale or au_extractor:
        raise typer.BadParameter("--au, --au-scale and --au-extractor belong to --actions.")
    conversion = Conversion(
        dataset.value,
        str(source),
        Picturing(size, how, faces, margin, max_pixels, jpeg_quality, drawn_on),
        given, joined, validation, test, seed, shard_size, shares(shard),
    )  # fmt: skip
    console = Console()
    try:
        with progress(console, "convert") as move:
            description = convert_dataset(
                conversion, output, workers=workers or cores(), on_error=on_error, append=append, min_kept=min_kept,
                beam_args=shlex.split(beam_args) if runner == "beam" else None, progress=move,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.print("stopped; what is finished is kept, and the same command goes on")
        raise typer.Exit(130) from None
    summarise(console, output, description, quiet=on_error == "skip")


def summarise(console: "Console", output: Path, description: dict[str, Any], quiet: bool) -> None:
    """Say what a folder holds, and what was left out."""
    from tfrecords_tools.rejects import left_out, noted, sum_of

    counts = ", ".join(f"{split} {entry['examples']}" for split, entry in description["splits"].items())
    console.print(
        f"{output}: {counts}; with masks {description['masks']}, with action units {description['with_units']}"
    )
    for line in () if quiet else left_out(description):
        console.print(line)
    if (output / "rejected.csv").is_file() and not quiet:
        console.print(f"each rejected file and why: {output / 'rejected.csv'}")
    for line in noted(description):
        console.print(line)
    if description.get("files"):
        console.print(str(sum_of(description)))
    console.print(f"next: seghgan data inspect {output}; seghgan data validate {output}")
