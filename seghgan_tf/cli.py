"""The command `seghgan`: light at start, each command imports what it needs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from seghgan_tf import edit_cli, quiet
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
app.add_typer(edit_cli.app)
app.command(context_settings=serving_cli.SERVE)(serving_cli.serve)
app.command()(serving_cli.status)
app.command()(serving_cli.promote)
app.command("bench-serve")(serving_cli.bench_serve)

Workdir = Annotated[Path, typer.Option(help="Folder of the run: checkpoints, history, TensorBoard.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a setting, as in training.batch_size=8; repeat for more."),
]


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

    run_demo(workdir, from_scratch=from_scratch, preset=preset, seed=seed, save_checkpoint=save_checkpoint)


@app.command()
def train(
    config: Annotated[
        str, typer.Option(help="A preset (drawn-64, drawn-64-unpaired, faces-128, paper-256) or a TOML file.")
    ],
    workdir: Workdir,
    settings: Settings = None,
    expression: Annotated[
        list[Path] | None, typer.Option(help="Folder of records with expressions; repeat for more.")
    ] = None,
    segmentation: Annotated[
        list[Path] | None, typer.Option(help="Folder of records with masks; the expression folders if not given.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the configuration and the parameter counts, then stop.")
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
    if not resolved.data.expression and not dry_run:
        raise ValueError(
            "`expression` must name a folder of records; make one with `seghgan data draw DIR`. Received: none"
        )
    quiet.start_tensorflow()
    from seghgan_tf.training import run as training
    from seghgan_tf.training.progress import ProgressBar

    console = Console()
    if dry_run:
        console.print_json(resolved.model_dump_json())
        console.print("trainable parameters:", training.parameter_counts(resolved.model))
        return
    with ProgressBar(resolved.training.steps, console) as bar:
        training.train(resolved, workdir, callbacks=(bar,), report=console.print)
    console.print(f"done: {workdir / training.CHECKPOINT}; next: seghgan evaluate --workdir {workdir}")


@app.command()
def evaluate(
    workdir: Workdir,
    split: Annotated[str, typer.Option(help="Split to measure on.")] = "test",
    output: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Measure segmentation, edits and expressions of a run on held-out records."""
    from rich.console import Console

    quiet.start_tensorflow()
    from seghgan_tf.evaluation.figures import evaluate_run
    from seghgan_tf.training import run as training

    figures = evaluate_run(
        training.load_model(workdir / training.CHECKPOINT), training.streams(training.read_run(workdir), split)
    )
    Console().print_json(data=figures)
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n")


@app.command()
def ablate(
    config: Annotated[
        str, typer.Option(help="A preset or a TOML file; its model.regions is replaced by each variant.")
    ],
    workdir: Workdir,
    settings: Settings = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="none, boxes, frozen, joint; repeat for more. All four if not given.")
    ] = None,
    segmenter: Annotated[
        list[str] | None, typer.Option(help="unet, bisenet; repeat for more. The configuration's if not given.")
    ] = None,
) -> None:
    """Train the variants of the method at equal budget and put their figures side by side. Resumes."""
    quiet.start_tensorflow()
    from seghgan_tf.evaluation.ablation import run_ablation

    run_ablation(
        config,
        workdir,
        tuple(settings or ()),
        tuple(variant or ("none", "boxes", "frozen", "joint")),
        tuple(segmenter or ()),
    )


@app.command()
def export(
    workdir: Workdir,
    output: Annotated[Path, typer.Option(help="Folder of exports; a numbered version is added to it.")],
    version: Annotated[int | None, typer.Option(min=1, help="Version number; the next free one if not given.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Figures of `seghgan evaluate` to keep in the manifest.", exists=True)
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            help="Write `VERSION DIGEST` here, for `gate` and `promote`; where it is there, nothing is exported again."
        ),
    ] = None,
) -> None:
    """Write a SavedModel with the served signatures, warmup requests and a manifest with checksums."""
    if receipt and receipt.exists():
        typer.echo(f"exported before: version {receipt.read_text().strip()}")
        return
    quiet.start_tensorflow()
    from seghgan_tf.export import export as write
    from seghgan_tf.training import run as training
    from serving.release.receipt import write_receipt

    taken = [int(path.name) for path in output.glob("*") if path.name.isdigit()]
    model = training.load_model(workdir / training.CHECKPOINT)
    facts: dict[str, Any] = {"step": model.steps_done}
    if figures:
        facts["figures"] = json.loads(figures.read_text())
    written = write(model, output, version or max(taken, default=0) + 1, facts)
    if receipt:
        write_receipt(written, receipt)
    typer.echo(f"exported: {written}")


@app.command()
def gate(
    candidate: Annotated[
        Path, typer.Argument(help="Figures JSON, an exported version, or a folder of them (the newest).", exists=True)
    ],
    baseline: Annotated[
        Path | None, typer.Option(help="The same of the model that serves now; floors alone if not given.", exists=True)
    ] = None,
    models_config: Annotated[
        Path | None,
        typer.Option(help="The servers' models.config: the baseline is what its label `stable` names.", exists=True),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            help="SHA-256 of the candidate's manifest, as `seghgan export --receipt` wrote it; another is refused."
        ),
    ] = None,
    min_miou: Annotated[float, typer.Option(help="Least mean IoU.")] = 0.60,
    miou_drop: Annotated[float, typer.Option(help="How far mean IoU may fall below the baseline's.")] = 0.01,
    max_error_ratio: Annotated[float, typer.Option(help="Most edit error ratio (1 does nothing).")] = 0.95,
    error_ratio_rise: Annotated[float, typer.Option(help="How far it may rise above the baseline's.")] = 0.02,
) -> None:
    """Refuse a model whose segmentation or edits fall behind: status 0 passes, 3 refuses, 1 could not tell.

    seghgan gate exports --models-config models.config
    """
    from seghgan_tf.evaluation.gate import Limits, judge
    from serving.release.receipt import check_digest
    from serving.server.models_config import read_models

    if models_config is not None:
        if baseline is not None:
            raise typer.BadParameter("Give --baseline or --models-config.")
        folder = candidate.parent if (candidate / "manifest.json").exists() else candidate
        stable = folder / str(read_models(models_config)["seghgan"].labels["stable"])
        baseline = stable if stable.exists() else None
    if digest is not None:
        check_digest(candidate, digest)
    limits = Limits(
        min_miou=min_miou, miou_drop=miou_drop, max_error_ratio=max_error_ratio, error_ratio_rise=error_ratio_rise
    )
    for check in judge(candidate, baseline, limits):
        typer.echo(f"{check.figure}: {check.value:.4f}, {check.rule} {check.bound:.4f}")
    typer.echo(f"passed, against {baseline or 'floors alone'}")


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
