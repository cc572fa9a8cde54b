"""Train the method's variants at equal budget and compare their figures."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seghgan_tf.config import read_config
from seghgan_tf.evaluation.figures import evaluate_run
from seghgan_tf.progress import progress
from seghgan_tf.training import run as training

COLUMNS = ("miou", "f1", "error_ratio", "outside_change", "expression_error", "asked_error")


def run_ablation(
    config: str, workdir: Path, settings: tuple[str, ...], variants: tuple[str, ...], segmenters: tuple[str, ...]
) -> Path:
    """Train and evaluate every variant, each in its own folder of `workdir`; returns the path of the JSON figures.

    A variant whose figures are there is not trained again. Raises ValueError as `read_config` does.
    """
    console, figures = Console(), {}
    segmenters = segmenters or (read_config(config, settings).model.segmenter,)
    for segmenter in segmenters:
        for variant in variants:
            name = f"{segmenter}-{variant}"
            run = read_config(config, (*settings, f"model.regions={variant}", f"model.segmenter={segmenter}"))
            folder = workdir / name
            measured = folder / "figures.json"
            if not measured.is_file():
                console.rule(name)
                with progress(console, "train") as move:
                    model = training.train(run, folder, report=console.print, move=move)
                measured.write_text(json.dumps(evaluate_run(model, **training.streams(run, "test")), indent=2) + "\n")
            figures[name] = json.loads(measured.read_text())
    table = Table("variant", *COLUMNS)
    for name, values in figures.items():
        table.add_row(name, *(f"{values[column]:.4f}" if column in values else "" for column in COLUMNS))
    console.print(table)
    summary = workdir / "ablation.json"
    summary.write_text(json.dumps(figures, indent=2) + "\n")
    return summary
