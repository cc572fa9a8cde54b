"""The folder of a run: checkpoints are whole or not used, the history has no gap, one process holds it."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from seghgan_tf.training import health, profile, workdir
from seghgan_tf.training.recorder import is_best
from tests import tiny  # noqa: F401 (its segmenter)
from tests.conftest import ROOT
from tests.test_model import make_model


@pytest.fixture(scope="module")
def model():
    return make_model(regions="none", segmenter="one-layer")


def saved(model, folder, steps):
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for step in steps:
        model.optimizer.iterations.assign(step)
        workdir.save(model, folder, best=step == 2)
    return workdir.checkpoints(folder)


def test_the_last_three_and_the_best_checkpoint_stay(model, tmp_path):
    found = saved(model, tmp_path, (1, 2, 3, 4, 5))
    assert [path.name for path in found] == [f"step-{step:08}.keras" for step in (5, 4, 3)]
    assert workdir.load_run(tmp_path, best=True).steps_done == 2
    assert len(list((tmp_path / "checkpoints").iterdir())) == 6, "three checkpoints and their checksums, nothing else"
    checked = subprocess.run(
        ["sha256sum", "-c", found[0].name + ".sha256"], cwd=tmp_path / "checkpoints", capture_output=True, check=False
    )
    assert checked.returncode == 0


def test_a_damaged_checkpoint_costs_an_interval_and_is_named(model, tmp_path):
    newest, before, *_ = saved(model, tmp_path, (1, 2, 3))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    said = []
    assert workdir.load_newest(tmp_path, said.append).steps_done == 2
    assert newest.name in said[0]
    for path in (before, *workdir.checkpoints(tmp_path)):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="all damaged"):
        workdir.load_newest(tmp_path, said.append)


def test_a_folder_without_checkpoints_is_a_new_run_or_an_error(tmp_path):
    assert workdir.load_newest(tmp_path) is None
    with pytest.raises(ValueError, match="seghgan train"):
        workdir.load_run(tmp_path)
    with pytest.raises(ValueError, match="--best"):
        workdir.load_run(tmp_path, best=True)


def test_a_weight_that_is_no_number_is_named(model):
    weight = model.segmenter.trainable_variables[0]
    good = weight.numpy()
    weight.assign(np.full(weight.shape, np.nan))
    assert workdir.not_finite(model) == [weight.path]
    weight.assign(good)
    assert not workdir.not_finite(model)


def test_the_history_is_cut_where_the_run_goes_on(tmp_path):
    for step in (2, 4, 6):
        workdir.append_history(tmp_path, {"step": step})
    with (tmp_path / workdir.HISTORY_FILE).open("a") as file:
        file.write('{"step": 8, "mi')
    assert [line["step"] for line in workdir.read_history(tmp_path)] == [2, 4, 6]
    assert [line["step"] for line in workdir.cut_history(tmp_path, 4)] == [2, 4]
    workdir.append_history(tmp_path, {"step": 6})
    lines = (tmp_path / workdir.HISTORY_FILE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]


HOLD = """
import sys, pathlib
from seghgan_tf.training import workdir
with workdir.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_process_and_falls_with_it(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match=f"process {other.pid} on"), workdir.locked(tmp_path):
            pass
        other.kill()
    with workdir.locked(tmp_path):
        pass


def test_the_best_is_by_true_targets_where_there_are_some():
    assert not is_best([{"val_paired": 0.1, "val_miou": 0.5}, {"val_paired": 0.2, "val_miou": 0.9}])
    assert is_best([{"val_paired": 0.0, "val_miou": 0.9}, {"val_paired": 0.2, "val_miou": 0.8}])
    assert is_best([{"val_miou": 0.5}, {"val_miou": 0.6}])
    assert not is_best([{"val_miou": 0.6}, {"val_miou": 0.5}])


def test_the_best_without_true_targets_is_by_edits_and_never_the_segmenters_own_stage():
    """Lines as a run of an unpaired preset writes them; those of 0.1 hold 0 for what a stage does not measure."""
    alone = [{"val_miou": 0.8}, {"val_miou": 0.9, "val_expression": 0.0, "val_paired": 0.0}]
    first, better, worse = ({"val_miou": 0.7, "val_expression": error} for error in (0.5, 0.2, 0.3))
    assert is_best(alone), "of a run of the segmenter alone"
    assert is_best([*alone, first]), "the first that trained a generator, however good the masks were before"
    assert is_best([*alone, first, better])
    assert not is_best([*alone, first, better, worse | {"val_miou": 0.95}])


def kill_at_rename(folder, number):
    """Save the model of step 2 as the best one, and be killed at the `number`-th file that is to get its name."""
    model, left = make_model(regions="none", segmenter="one-layer"), [number]
    model.optimizer.iterations.assign(2)

    def count(event, _):
        if event == "os.rename":
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    workdir.save(model, folder, best=True)


@pytest.mark.slow
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_best_and_never_a_checkpoint_newer_than_it(model, tmp_path):
    saved(model, tmp_path / "begun", (1,))
    model.optimizer.iterations.assign(1)
    workdir.save(model, tmp_path / "begun", best=True)
    processes, found, ends = multiprocessing.get_context("forkserver"), [], [-signal.SIGKILL]
    processes.set_forkserver_preload([__name__])
    while ends[-1] == -signal.SIGKILL:
        folder = shutil.copytree(tmp_path / "begun", tmp_path / str(len(ends)))
        process = processes.Process(target=kill_at_rename, args=(folder, len(ends)))
        process.start()
        process.join()
        ends.append(process.exitcode)
        found.append((workdir.load_run(folder, best=True).steps_done, workdir.load_run(folder).steps_done))
    assert ends[-1] == 0
    assert found == [(1, 1), (2, 1), (2, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([{"attention": 0.99}], "repaints"),
        ([{"attention": 0.0005}], "keeps every pixel"),
        ([{"attention": 0.0}], "keeps every pixel"),
        ([{"critic": -0.0002}, {"critic": 0.0003}], "critic"),
        ([{"critic": 0.0}, {"critic": 0.0}], "critic"),
        ([{"area_nose": 1e-5}], "nose mask"),
        ([{"val_segmentation": 0.4}, {"val_segmentation": 0.7}, {"val_segmentation": 0.8}], "segmentation loss"),
    ],
)
def test_a_sick_run_is_told_with_a_hint(history, words):
    (warning,) = health.warnings(history)
    assert words in warning
    assert "model." in warning


def test_a_healthy_run_and_the_segmenters_own_stage_are_left_alone():
    healthy = {"attention": 0.1, "critic": -0.5, "area_eyes": 0.02, "area_nose": 0.02, "area_mouth": 0.01}
    falling = [healthy | {"val_segmentation": value} for value in (0.9, 0.5, 0.4, 0.45)]
    assert health.warnings(falling) == []
    assert health.warnings([{"val_segmentation": 0.5}] * 3) == [], "its lines have no figures of generators and critics"
    assert health.warnings([{"val_segmentation": 0.5}] * 2 + [{"attention": 0.1, "critic": 0.0}]) == [], (
        "once is no collapse"
    )
    assert health.warnings([]) == []


@pytest.mark.parametrize("text", ["", "5", "9:3", "a:b", "0:4"])
def test_a_profile_needs_two_steps_in_order(text):
    with pytest.raises(ValueError, match="START:STOP"):
        profile.parse_steps(text)
