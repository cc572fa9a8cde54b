"""The commands `seghgan train` and `seghgan runs`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from seghgan_tf import quiet

app = typer.Typer()

Workdir = Annotated[Path, typer.Option(help="Folder of the run: checkpoints, history, TensorBoard.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a setting, as in training.batch_size=8; repeat for more."),
]
PRESETS_HELP = "A preset (such as drawn-64, affectnet-128, rafd-128, celebamask-512) or a TOML file."


@app.command()
def train(
    config: Annotated[str, typer.Option(help=PRESETS_HELP)],
    workdir: Workdir,
    settings: Settings = None,
    expression: Annotated[
        list[Path] | None, typer.Option(help="Folder of records with expressions; repeat for more.")
    ] = None,
    segmentation: Annotated[
        list[Path] | None, typer.Option(help="Folder of records with masks; the expression folders if not given.")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Start a new run from the weights of another: its folder, a .keras or an .npz file.", exists=True
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="START:STOP", help="Profile these steps for TensorBoard, as in 100:110.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration, the parameter counts and the device, then stop.")
    ] = False,
) -> None:
    """Train segmenter and GAN together; the same command again goes on where it was cut. SIGTERM saves and stops."""
    from rich.console import Console

    from seghgan_tf.config import read_config

    overrides = [*(settings or ())]
    for name, folders in (("expression", expression), ("segmentation", segmentation)):
        if folders:
            overrides.append(f"data.{name}={json.dumps([str(folder) for folder in folders])}")
    resolved = read_config(config, tuple(overrides))
    if not resolved.data.expression and not dry_run and not resolved.segmentation_alone:
        raise ValueError(
            "`expression` must name a folder of records; make one with `seghgan data draw DIR`. Received: none"
        )
    quiet.start_tensorflow()
    from seghgan_tf.progress import progress
    from seghgan_tf.training import pretrained, run
    from seghgan_tf.training.profile import Profile, parse_steps

    console = Console()
    if dry_run:
        console.print_json(resolved.model_dump_json())
        loss = "cross-entropy" if resolved.model.space.one_hot else "mean squared error"
        console.print(f"expression: {loss} at weight {resolved.model.losses.expression:g}")
        console.print("trainable parameters:", run.parameter_counts(resolved.model))
        console.print(run.device(resolved))
        return
    profiles = (Profile(*parse_steps(profile), workdir / "tensorboard"),) if profile else ()
    console.print(run.device(resolved))
    with progress(console, "train") as move:
        run.train(
            resolved,
            workdir,
            start=(lambda model: console.print(f"{init_from}: {pretrained.start_from(model, init_from)}"))
            if init_from
            else None,
            callbacks=profiles,
            report=console.print,
            move=move,
        )
    console.print(f"done: {workdir}; next: seghgan evaluate --workdir {workdir}")


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of runs.", exists=True, file_okay=False)],
    page: Annotated[
        Path | None, typer.Option("--html", help="Write the table and the curves to this HTML page.")
    ] = None,
) -> None:
    """Compare the runs in a folder: how far they are, their last validation figures, and the settings that differ."""
    from rich.console import Console
    from rich.table import Table

    from seghgan_tf.training.runs import find_runs, table, write_page

    found = find_runs(folder)
    heads, rows = table(found)
    shown = Table(*heads)
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)
    if page:
        write_page(page, found)
        typer.echo(f"written: {page}")
