"""The quality gate lets a good model through and names every figure that falls."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seghgan_tf import cli
from seghgan_tf.evaluation import gate

GOOD = {"miou": 0.86, "error_ratio": 0.64, "outside_change": 0.0003, "expression_error": 0.2}


def export(folder: Path, version: int, figures: dict | None) -> Path:
    (folder / str(version)).mkdir(parents=True)
    training = {} if figures is None else {"figures": figures}
    (folder / str(version) / "manifest.json").write_text(json.dumps({"manifest_version": 1, "training": training}))
    return folder / str(version)


def test_the_newest_version_of_a_folder_is_the_candidate(tmp_path):
    for version in (1, 2, 10):
        export(tmp_path, version, GOOD | {"miou": version / 20})
    assert gate.read_figures(tmp_path)["miou"] == 0.5


def test_a_better_model_passes(tmp_path):
    checks = gate.judge(export(tmp_path, 2, GOOD | {"miou": 0.9}), export(tmp_path, 1, GOOD))
    assert {check.figure for check in checks} == {"miou", "error_ratio", "outside_change", "expression_error"}
    assert all(check.passed for check in checks)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"miou": 0.84}, "miou is 0.84, baseline 0.85"),
        ({"miou": 0.5}, "miou is 0.5, floor 0.6"),
        ({"error_ratio": 0.70}, "error_ratio is 0.7, baseline 0.66"),
        ({"error_ratio": 0.99}, "error_ratio is 0.99, ceiling 0.95"),
        ({"outside_change": 0.5}, "outside_change is 0.5, ceiling 0.02"),
        ({"expression_error": 0.4}, "expression_error is 0.4, baseline 0.25"),
        ({"error_ratio": None}, "error_ratio is None, baseline 0.66"),
    ],
)
def test_a_figure_that_falls_is_refused_and_named(tmp_path, change, named):
    figures = {name: value for name, value in (GOOD | change).items() if value is not None}
    candidate, baseline = export(tmp_path, 2, figures), export(tmp_path, 1, GOOD)
    with pytest.raises(gate.GateRefusedError, match=named) as refused:
        gate.judge(candidate, baseline)
    assert refused.value.exit_status == 3


def test_an_export_without_figures_is_an_error_that_says_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match="seghgan evaluate --output"):
        gate.judge(export(tmp_path, 1, None), None)


def test_the_command_takes_the_stable_version_as_baseline(tmp_path):
    export(tmp_path, 1, GOOD)
    export(tmp_path, 2, GOOD | {"miou": 0.8})
    config = tmp_path / "models.config"
    shipped = Path(cli.__file__).parents[1] / "serving" / "config" / "models.config"
    config.write_text(shipped.read_text())
    ran = CliRunner().invoke(cli.app, ["gate", str(tmp_path), "--models-config", str(config)])
    assert isinstance(ran.exception, gate.GateRefusedError)
    allowed = CliRunner().invoke(cli.app, ["gate", str(tmp_path), "--models-config", str(config), "--miou-drop", "0.1"])
    assert f"passed, against {tmp_path / '1'}" in allowed.output


def test_a_first_version_is_held_to_the_floors_alone(tmp_path):
    export(tmp_path, 5, GOOD)
    config = Path(cli.__file__).parents[1] / "serving" / "config" / "models.config"
    ran = CliRunner().invoke(cli.app, ["gate", str(tmp_path), "--models-config", str(config)])
    assert "floors alone" in ran.output
