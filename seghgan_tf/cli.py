"""The command `seghgan`: light at start, each command imports what it needs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from seghgan_tf import edit_cli, quiet
from seghgan_tf.evaluation import cli as evaluation_cli
from seghgan_tf.evaluation.cli import Best
from seghgan_tf.training import cli as training_cli
from seghgan_tf.training.cli import Workdir
from serving import cli as serving_cli
from tfrecords_tools import cli as data_cli

app = typer.Typer(
    name="seghgan",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Edit facial expressions with a segmenter and a hierarchical GAN that train together.\n\n"
    "Start with: seghgan demo. Your own data: seghgan data convert, seghgan train, seghgan export, seghgan serve, seghgan edit.",
)
app.add_typer(data_cli.app, name="data", help="Draw, convert, look at and check TFRecords of faces.")
for program in (training_cli.app, evaluation_cli.app, edit_cli.app):
    app.add_typer(program)
app.command(context_settings=serving_cli.SERVE)(serving_cli.serve)
app.command()(serving_cli.status)
app.command()(serving_cli.promote)
app.command("bench-serve")(serving_cli.bench_serve)


def _version(wanted: bool) -> None:
    if wanted:
        from seghgan_tf import __version__

        typer.echo(f"seghgan-tf {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Settings of all commands; `main` reads --debug itself."""


@app.command()
def demo(
    workdir: Workdir = Path("runs/demo"),
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch", help="Train from nothing (about an hour) instead of from the package's checkpoint."
        ),
    ] = False,
    train: Annotated[
        bool, typer.Option(help="Go on from the package's checkpoint for a few steps; else measure it as it is.")
    ] = True,
    preset: Annotated[
        str, typer.Option(help="What to train --from-scratch: drawn-64, or drawn-64-unpaired (no true targets).")
    ] = "drawn-64",
    seed: Annotated[int, typer.Option(help="Seed of the faces and of the training.")] = 1,
    save_checkpoint: Annotated[
        Path | None, typer.Option(help="Write the trained weights (.npz) and their facts here.")
    ] = None,
) -> None:
    """Draw faces, train, evaluate, export, serve and edit over gRPC, into one HTML report. Ten minutes on two cores."""
    quiet.start_tensorflow()
    from seghgan_tf.demo.run import run_demo

    run_demo(workdir, from_scratch=from_scratch, train=train, preset=preset, seed=seed, save_checkpoint=save_checkpoint)


@app.command()
def doctor() -> None:
    """Show versions, devices, memory and extras of this installation, and how to mend what is missing."""
    from rich.console import Console
    from rich.table import Table

    quiet.start_tensorflow()
    from seghgan_tf.doctor import examine

    table = Table("what", "found", "mend")
    for line in examine():
        table.add_row(*line)
    Console().print(table)


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option(help="Folder of exports; a numbered version is added to it.", file_okay=False)
    ] = None,
    workdir: Annotated[Path | None, typer.Option(help="Folder of the run whose model is exported.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Export a model that comes with the package instead, such as portrait-128.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version number; the next free one if not given.")] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Figures of `seghgan evaluate` of these very weights, to keep in the manifest.", exists=True),
    ] = None,
    best: Best = False,
    optimize: Annotated[
        bool,
        typer.Option(
            "--optimize", help="Freeze the graph: loads sooner and in less memory; refused where edits differ by 1/255."
        ),
    ] = False,
    litert: Annotated[
        Path | None,
        typer.Option(help="Write the edit to this file (.tflite) for LiteRT: phones, machines without TensorFlow."),
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            help="Write `VERSION DIGEST` here, for `gate` and `promote`; where it is there, nothing is exported again."
        ),
    ] = None,
) -> None:
    """Write a SavedModel with the served signatures, warmup requests and a manifest with checksums.

    seghgan export --preset portrait-128 --output exports && seghgan serve exports
    """
    _check_asked(workdir, preset, output, litert, only_with_output=bool(receipt or optimize))
    if figures and workdir is None:
        raise typer.BadParameter("--figures goes with --workdir; what comes with the package has its own")
    if receipt and receipt.exists():
        typer.echo(f"exported before: version {receipt.read_text().strip()}")
        return
    quiet.start_tensorflow()
    from seghgan_tf.doctor import require

    if output:
        require("tensorflow_serving", "serve", "an export")
    from seghgan_tf.evaluation.provenance import figures_for
    from seghgan_tf.export import export as write
    from seghgan_tf.model import SegHGAN, checkpoint
    from seghgan_tf.training.workdir import load_run
    from serving.release.receipt import write_receipt

    if workdir is not None:
        model = load_run(workdir, best)
        facts: dict[str, Any] = {"step": model.steps_done}
    elif preset is not None:
        model = SegHGAN.from_preset(preset)
        known = checkpoint.facts(checkpoint.path_of(preset))
        facts = {name: known[name] for name in ("command", "steps", "figures", "sha256") if name in known}
    if figures:
        facts["figures"] = figures_for(model, figures)
    if litert:
        from seghgan_tf.litert import write_litert

        typer.echo(f"exported: {write_litert(model, litert)}")
    if output:
        written = write(model, output, version, facts, optimize=optimize)
        if receipt:
            write_receipt(written, receipt)
        typer.echo(f"exported: {written}")


def _check_asked(
    workdir: Path | None, preset: str | None, output: Path | None, litert: Path | None, only_with_output: bool
) -> None:
    if (workdir is None) == (preset is None):
        raise typer.BadParameter("give --workdir, the folder of a run, or --preset, the name of a packaged model")
    if output is None and (litert is None or only_with_output):
        raise typer.BadParameter(
            "give --output, a folder of exports, or --litert, a file, or both; --optimize and --receipt need --output"
        )


def _one_line(error: Exception) -> str:
    """Return an error's message on one line; of a configuration's errors, the first with its setting's name."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        return f"`{setting}`: {first['msg']}. Received: {first['input']!r}" if setting else first["msg"]
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """Run the command; an error is one line and status 1, wrong usage is status 2, a stop by SIGTERM 143."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        typer.secho(f"seghgan: {_one_line(error)}", fg="red", err=True)
        sys.exit(getattr(error, "exit_status", 1))
