"""The command: teaches, refuses plainly, and exits with the promised status."""

import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

from seghgan_tf import cli, doctor
from tests.conftest import ROOT

COMMANDS = [
    "demo",
    "train",
    "runs",
    "evaluate",
    "train-judge",
    "ablate",
    "gate",
    "export",
    "doctor",
    "serve",
    "status",
    "bench-serve",
    "edit",
    "analyze",
    "data",
]


@pytest.fixture
def seghgan(monkeypatch, capsys):
    """Run a command line as the installed program does, in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["seghgan", *arguments])
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert "usage" in result.output.lower()


def test_help_lists_every_command():
    output = CliRunner().invoke(cli.app, ["--help"]).output
    assert all(command in output for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["train", "--config", "nothing", "--workdir", "w"], 1, "drawn-64"),
        (["train", "--config", "drawn-64", "--workdir", "w"], 1, "seghgan data draw"),
        (["train", "--config", "drawn-64", "--workdir", "w", "--set", "training.steps=0"], 1, "training.steps"),
        (["train", "--workdir", "w"], 2, "--config"),
        (["edit", "README.md", "--out", "x.png", "--au", "AU12=3"], 1, "must be a picture"),
        (["edit", "README.md", "--out", "x.png", "--export", "x"], 2, "--au"),
        (["edit", "README.md", "--out", "x.png", "--export", "x", "--emotion", "bored"], 2, "happy"),
        (["edit", "README.md", "--out", "x.png", "--export", "x", "--au", "smile"], 2, "AU12=3"),
        (
            ["edit", "docs/images/astronaut.jpg", "--out", "x.png", "--export", "x", "--au", "AU12=3"],
            1,
            "seghgan export",
        ),
        (["edit", "nothing.jpg", "--out", "x.png", "--export", "x", "--au", "AU12=3"], 2, "nothing.jpg"),
        (["evaluate", "--workdir", "nothing"], 1, "seghgan train"),
    ],
)
def test_wrong_use_is_one_line_with_the_mend(seghgan, arguments, status, words):
    done = seghgan(*arguments)
    assert done.returncode == status
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(seghgan):
    with pytest.raises(ValueError, match="drawn-64"):
        seghgan("--debug", "train", "--config", "nothing", "--workdir", "w")


def test_a_dry_run_prints_the_configuration_and_trains_nothing(seghgan, tmp_path):
    done = seghgan("train", "--config", "drawn-64", "--workdir", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert '"image_size": 64' in done.stdout
    assert "generator" in done.stdout
    assert "trains on the CPU" in done.stdout
    assert "warning:" not in done.stdout
    assert not (tmp_path / "run").exists()


def test_the_doctor_names_versions_memory_and_extras(seghgan):
    done = seghgan("doctor")
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("tensorflow", "keras", "GPUs", "GiB", "extra serve", "extra gpu"))


def test_the_doctor_knows_every_extra_that_a_user_installs():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert doctor.EXTRAS.keys() == extras.keys() - {"dev", "bench"}


def test_an_export_names_the_extra_that_it_lacks_before_it_begins(seghgan, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)  # as where it is not installed
    done = seghgan("export", "--preset", "drawn-64", "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "the extra serve: pip install '.[serve]'" in done.stderr
    assert not (tmp_path / "out").exists()
    assert doctor.lacking("serve") == ["tensorflow_serving"]


def test_a_dry_run_of_a_one_hot_space_says_its_loss(seghgan, tmp_path):
    done = seghgan("train", "--config", "affectnet-128", "--workdir", str(tmp_path / "run"), "--dry-run")
    assert "cross-entropy at weight 1" in done.stdout
    assert "without a GPU" in done.stdout, "a hundred thousand steps"
    assert "seghgan doctor" in done.stdout


def test_export_takes_a_run_or_a_packaged_model(tmp_path):
    for words in ([], ["--workdir", str(tmp_path), "--preset", "drawn-64"]):
        done = CliRunner().invoke(cli.app, ["export", "--output", str(tmp_path / "out"), *words])
        assert done.exit_code == 2
        assert "--preset" in done.output


def test_a_packaged_model_is_exported_with_no_others_figures(tmp_path):
    (tmp_path / "figures.json").write_text("{}")
    words = ["--preset", "drawn-64", "--output", str(tmp_path / "out"), "--figures", str(tmp_path / "figures.json")]
    done = CliRunner().invoke(cli.app, ["export", *words])
    assert done.exit_code == 2
    assert "--workdir" in done.output
