"""The commands `seghgan evaluate`, `seghgan ablate` and `seghgan gate`."""

import fnmatch
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from seghgan_tf import quiet
from seghgan_tf.training.cli import Settings, Workdir

app = typer.Typer()

Best = Annotated[bool, typer.Option("--best", help="Use the run's best checkpoint by validation, not its last.")]


@app.command()
def evaluate(
    workdir: Workdir,
    split: Annotated[str, typer.Option(help="Split to measure on: test or validation.")] = "test",
    output: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Write figures, intervals, pictures and matrices to this HTML page."),
    ] = None,
    best: Best = False,
    judge: Annotated[
        Path | None,
        typer.Option(
            help="Independent judge: what `seghgan train-judge` wrote, or any SavedModel from an image to an expression.",
            exists=True,
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="SavedModel that turns an image into features, for FID and KID.", exists=True)
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(
            help="SavedModel of a face recogniser: an image into a vector that tells people apart.", exists=True
        ),
    ] = None,
) -> None:
    """Measure segmentation, edits and expressions of a run on held-out records, each stream to its own end.

    Every figure has a 95 % bootstrap interval over the people who were measured.
    """
    if split not in ("test", "validation"):  # that of training has no end
        raise typer.BadParameter(f"--split must be test or validation. Received: {split}")
    from rich.console import Console
    from rich.table import Table

    quiet.start_tensorflow()
    from seghgan_tf.evaluation import provenance, report
    from seghgan_tf.evaluation.figures import evaluate_run
    from seghgan_tf.evaluation.networks import Signature
    from seghgan_tf.training.run import streams
    from seghgan_tf.training.workdir import load_run, read_config_of

    config, model = read_config_of(workdir), load_run(workdir, best)
    measured = streams(config, split, people=True)
    given = {"judge": judge, "features": features, "identity": identity}
    networks: dict[str, Any] = {name: Signature(folder) for name, folder in given.items() if folder is not None}
    figures = evaluate_run(model, **measured, **networks)
    figures["measured"] = provenance.measured(model, config, split, **networks)
    table = Table("figure", "measured", "95 %", "what")
    for row in report.rows(figures):
        table.add_row(*row)
    Console().print(table)
    typer.echo(report.counts(figures))
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n")
    if page:
        shown = report.pictures(model, next(iter(measured.get("expression", measured["segmentation"]))))
        report.write_report(page, f"{workdir} at step {model.steps_done}, split {split}", figures, shown)
        typer.echo(f"written: {page}")


@app.command("train-judge")
def train_judge(
    workdir: Annotated[Path, typer.Option(help="Run of `seghgan train`: whose photos, split and expression space.")],
    output: Annotated[Path, typer.Option(help="New folder for the judge, a SavedModel.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps, at most; the best by validation is kept.")] = 4000,
    width: Annotated[int, typer.Option(min=1, help="Channels of its first stage.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of its weights and of the photos' order.")] = 7,
    split: Annotated[
        str, typer.Option(help="Split to measure its own error on: test, or validation where there is no other.")
    ] = "test",
) -> None:
    """Train an independent judge of expressions on a run's real photos, never on edits, and say what it errs by itself."""
    quiet.start_tensorflow()
    from seghgan_tf.evaluation.judge import train_judge as train
    from seghgan_tf.training.workdir import read_config_of

    facts = train(read_config_of(workdir), output, steps, width, seed, typer.echo, split)
    typer.echo(
        f"its own error on {facts['images']} photos of {facts['people']} people never trained on: {facts['error']:.4f} "
        f"(always the usual answer: {facts['guess']:.4f})"
    )
    typer.echo(f"written: {output}; next: seghgan evaluate --workdir {workdir} --judge {output}")


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
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each variant: model.seed is 0, 1, ...")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEGMENTER-VARIANT-SEED",
            help="Runs to train here, as in 'unet-*-0'; repeat for more. Others may be trained elsewhere in the same folder.",
        ),
    ] = None,
    train: Annotated[bool, typer.Option(help="Train what is not there; else only measure what is trained.")] = True,
    baseline: Annotated[str, typer.Option(help="The variant that others are compared with.")] = "joint",
    cost: Annotated[
        bool, typer.Option("--cost", help="Measure the processor time of a step of each variant, in turns.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the tables into this page, between the marks of an earlier call.")
    ] = None,
) -> None:
    """Train the variants of the method at equal budget and put their figures side by side. Resumes.

    Several processes may share the work on one folder: each run is trained by one of them.
    """
    quiet.start_tensorflow()
    from rich.console import Console

    from seghgan_tf.evaluation import ablation

    variants = tuple(variant or ("none", "boxes", "frozen", "joint"))
    console, runs = Console(), ablation.plan(config, tuple(settings or ()), variants, tuple(segmenter or ()), seeds)
    chosen = [name for name in runs if not only or any(fnmatch.fnmatchcase(name, pattern) for pattern in only)]
    if not chosen:
        raise typer.BadParameter(f"--only must name one of {', '.join(runs)}. Received: {', '.join(only or ())}")
    for name in chosen:
        ablation.run(runs[name], workdir / name, train, console)
    if cost:
        ablation.measure_cost(runs, workdir, console)
    ablation.report(runs, workdir, baseline, markdown, console)


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

    Every figure that both sides have is compared.

    seghgan gate exports --models-config models.config
    """
    from seghgan_tf.evaluation.gate import Limits, differences, judge
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
    for line in differences(candidate, baseline):
        typer.secho(f"note: {line}", fg="yellow", err=True)
    for check in judge(candidate, baseline, limits):
        typer.echo(f"{check.figure}: {check.value:.4f}, {check.rule} {check.bound:.4f}")
    typer.echo(f"passed, against {baseline or 'floors alone'}")
