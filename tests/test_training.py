"""A run in a work folder: trains, resumes, stops plainly, refuses to mix."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from seghgan_tf import cli
from seghgan_tf.config import read_config
from seghgan_tf.evaluation import gate, networks, provenance
from seghgan_tf.evaluation.figures import evaluate_run
from seghgan_tf.evaluation.judge import train_judge
from seghgan_tf.model import SegHGAN, checkpoint
from seghgan_tf.model.seghgan import LOSS_NAMES
from seghgan_tf.regions import REGIONS
from seghgan_tf.training import pretrained, runs, workdir
from seghgan_tf.training import run as training
from tests.conftest import ROOT, TINY
from tests.tiny import TINIEST, eagerly
from tfrecords_tools.draw import draw_dataset


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "drawn"
    draw_dataset(folder, 12, 4, 4, 64, 3)
    return folder


def tiny_run(records, **settings):
    """The configuration of a short run of a tiny model, without local networks and with one layer of a segmenter to save tracing."""
    tiny = {f"model.{name}": value for name, value in TINIEST.items()} | {"model.regions": "none"}
    values = (
        tiny
        | {
            "training.batch_size": 2,
            "training.steps": 3,
            "training.evaluate_every": 2,
            "model.segmenter_steps": 1,
            "model.paired_steps": 0,
        }
        | settings
    )
    overrides = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    return read_config("drawn-64", (*overrides, f"data.expression={json.dumps([str(records)])}"))


def cached(config, kept=True):
    """The configuration with decoded images kept in memory, or not."""
    return config.model_copy(update={"data": config.data.model_copy(update={"cache": kept})})


@pytest.fixture(scope="module")
def finished(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny_run(records)
    return config, folder, training.train(config, folder)


def test_a_run_leaves_checkpoint_history_pictures_and_configuration(finished):
    config, folder, model = finished
    assert model.steps_done == 3
    lines = workdir.read_history(folder)
    assert [line["step"] for line in lines] == [1, 3], "the segmenter's own stage ends at step 1"
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert {"val_miou", "val_paired", "gan_gradient_norm"} <= set(lines[-1])
    areas = {f"area_{name}" for name in REGIONS}
    own = {"segmentation", "miou", *areas}
    assert lines[0].keys() == {"step", "seconds", *own, *(f"val_{name}" for name in own)}, (
        "no 0 for what is not measured"
    )
    assert {name.removeprefix("val_") for name in lines[-1]} == {"step", "seconds", "miou", *LOSS_NAMES}
    assert workdir.read_config_of(folder) == cached(config), "what `auto` chose, for so few faces"
    assert list((folder / "tensorboard").glob("events*"))


def test_a_checkpoint_holds_weights_and_moments(finished):
    _, folder, model = finished
    loaded = workdir.load_run(folder)
    for expected, got in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, got)
    assert loaded.steps_done == 3
    assert {o.name: int(o.iterations) for o in loaded.optimizer.optimizers} == {
        "critic": 2,
        "generator": 2,
        "segmenter": 3,
    }


def test_a_finished_run_has_nothing_left_to_train(finished):
    config, folder, _ = finished
    said = []
    training.train(config, folder, report=said.append)
    assert "nothing left" in said[-1]


def changed(config, **settings):
    """The configuration with other settings of `training`."""
    return config.model_copy(update={"training": config.training.model_copy(update=settings)})


@eagerly()
def test_a_run_goes_on_with_new_settings_and_its_old_moments(finished, tmp_path):
    config, finished_at, model = finished
    folder = shutil.copytree(finished_at, tmp_path / "run")
    longer = changed(config, steps=4, learning_rate=3e-5)
    resumed = training.resume(longer, folder)
    for before, after in zip(model.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, after)
    named = {optimizer.name: optimizer for optimizer in resumed.optimizer.optimizers}
    assert named["generator"].get_config()["learning_rate"]["config"] == {"rate": 3e-5, "updates": 3}
    assert training.train(longer, folder).steps_done == 4
    assert workdir.read_config_of(folder) == cached(longer)
    assert [line["step"] for line in workdir.read_history(folder)] == [1, 3, 4]


def test_a_second_process_in_the_same_folder_is_refused_by_name(finished):
    config, folder, _ = finished
    with workdir.locked(folder), pytest.raises(RuntimeError, match=f"process {os.getpid()} on"):
        training.train(changed(config, steps=9), folder)


def test_a_new_run_starts_from_anothers_weights_and_says_what_matched(finished, records):
    _, folder, model = finished
    new = training.build(tiny_run(records, **{"model.critic_width": 6, "model.seed": 9}))
    said = str(pretrained.start_from(new, folder))
    assert "of another shape (critic): these start anew" in said
    with model.averaged():
        averaged = {v.path: v.numpy() for v in model.role_variables("generator")}
    for variable in new.role_variables("generator"):
        np.testing.assert_array_equal(variable, averaged[variable.path])


def bisenet(seed):
    """A small BiSeNet whose running statistics are not those that it starts with; weights that float16 can hold."""
    tiny = [f"model.{name}={value}" for name, value in TINY.items() if name != "segmenter"]
    model = training.build(
        read_config("drawn-64", (*tiny, "model.segmenter=bisenet", "model.regions=none", f"model.seed={seed}"))
    )
    chance = np.random.default_rng(seed)
    for variable in model.segmenter.weights:
        value = variable.numpy() if variable.trainable else chance.uniform(0.5, 1.5, variable.shape)
        variable.assign(value.astype(np.float16))
    return model


def test_a_bisenets_running_statistics_go_wherever_its_weights_go(tmp_path):
    trained, image = bisenet(1), np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    trained.segmenter.get_layer("fuse_norm").moving_variance.assign(np.full(16, 1e6))  # more than float16 can hold
    expected = trained.probabilities(image).numpy()
    trained.save(tmp_path / "trained.keras")
    checkpoint.save(trained, tmp_path / "trained.npz", {})
    for name in ("trained.keras", "trained.npz"):
        new = bisenet(2)
        said = str(pretrained.start_from(new, tmp_path / name))
        assert said.split()[0] == said.split()[2], said
        np.testing.assert_array_equal(new.probabilities(image), expected, err_msg=name)
    again = SegHGAN.from_preset(tmp_path / "trained.npz")
    np.testing.assert_array_equal(again.probabilities(image), expected)
    with np.load(tmp_path / "trained.npz") as weights:
        old = {name: weights[name] for name in weights.files if "/moving_" not in name}
        assert len(old) < len(weights.files)
    np.savez(tmp_path / "trained.npz", **old)
    with pytest.warns(UserWarning, match="lacks the running statistics"):
        lacking = SegHGAN.from_preset(tmp_path / "trained.npz")
    for one, other in zip(lacking.role_variables("segmenter"), trained.role_variables("segmenter"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "not there (segmenter): these start anew" in str(pretrained.start_from(again, tmp_path / "trained.npz"))


def test_runs_are_compared_by_figures_and_by_the_settings_that_differ(finished, tmp_path):
    _, folder, _ = finished
    for name in ("a", "b"):
        shutil.copytree(folder, tmp_path / name)
    config = workdir.read_config_of(tmp_path / "b")
    workdir.write_config(changed(config, learning_rate=1e-5), tmp_path / "b")
    heads, rows = runs.table(runs.find_runs(tmp_path))
    assert "val_miou".removeprefix("val_") in heads
    assert [row[0] for row in rows] == ["a", "b"]
    assert heads[-1] == "training.learning_rate"
    assert rows[1][-1] == "1e-05"
    runs.write_page(tmp_path / "runs.html", runs.find_runs(tmp_path))
    assert "<polyline" in (tmp_path / "runs.html").read_text()


def test_a_work_folder_of_another_model_is_refused(finished, records):
    _, folder, _ = finished
    other = tiny_run(records, **{"model.dilation": 0.1})
    with pytest.raises(ValueError, match="dilation"):
        training.train(other, folder)


@pytest.fixture(scope="module")
def measured(finished, tmp_path_factory):
    """What `train-judge` and `evaluate` said of the run, and the folder with what they wrote."""
    folder, said = tmp_path_factory.mktemp("measured"), []
    judge, output, page = (str(folder / name) for name in ("judge", "figures.json", "report.html"))
    run = ["--workdir", str(finished[1])]
    for words in (
        ["train-judge", *run, "--output", judge, "--steps", "20", "--width", "4"],
        ["evaluate", *run, "--judge", judge, "--output", output, "--html", page],
    ):
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 0, repr(done.exception)
        said.append(done.output)
    return folder, said, json.loads((folder / "figures.json").read_text())


def test_the_figures_of_a_run_cover_segmentation_edits_and_expressions(measured):
    _, said, figures = measured
    assert 0 <= figures["miou"] <= 1
    assert figures["images"] == {"segmentation": 4, "expression": 4}
    assert "masks on 4 images of 4 people; edits on 4 images of 4 people" in said[1]
    assert figures["locality"] == 0.0
    scalars = {name for name, value in figures.items() if isinstance(value, float)}
    assert scalars <= gate.RULES.keys() | set(gate.FACTS), "the gate must know every figure"
    assert scalars >= gate.RULES.keys() - {"fid", "kid", "identity"}
    assert figures["intervals"].keys() == scalars - {"locality"}
    for name, (low, high) in figures["intervals"].items():
        assert low <= high, name


def test_a_judges_own_error_stands_beside_what_it_says_of_edits(measured):
    folder, said, figures = measured
    facts = json.loads((folder / "judge" / "judge.json").read_text())
    assert (facts["images"], facts["people"]) == (4, 4)
    assert figures["judge_error"] == pytest.approx(facts["error"], rel=1e-4), "both on the split that it never saw"
    assert f"{facts['error']:.4f}" in said[0]
    assert f"The independent judge errs by {figures['judge_error']:.3f}" in (folder / "report.html").read_text()


def test_figures_name_the_step_the_split_and_the_judge_and_go_with_no_other_weights(finished, measured, tmp_path):
    _, run, model = finished
    folder, _, figures = measured
    told = figures["measured"]
    assert (told["step"], told["split"]) == (3, "test")
    assert told["judge"] == networks.Signature(folder / "judge").digest
    assert told.keys() == {"step", "weights", "split", "records", "judge"}
    assert provenance.figures_for(model, folder / "figures.json") == figures
    figures["measured"] = told | {"step": 2, "weights": "0" * 64}
    (tmp_path / "other.json").write_text(json.dumps(figures))
    words = ["export", "--workdir", str(run), "--output", str(tmp_path / "out"), "--figures"]
    done = CliRunner().invoke(cli.app, [*words, str(tmp_path / "other.json")])
    assert "those of step 3" in str(done.exception)
    assert "those of step 2" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_judge_is_trained_only_where_its_error_can_be_measured(finished, records, tmp_path):
    shutil.copytree(records, tmp_path / "records")
    described = json.loads((tmp_path / "records" / "dataset.json").read_text())
    del described["splits"]["test"]
    (tmp_path / "records" / "dataset.json").write_text(json.dumps(described))
    for shard in (tmp_path / "records").glob("test-*"):
        shard.unlink()
    config, told = tiny_run(tmp_path / "records"), []
    with pytest.raises(ValueError, match="test"):
        train_judge(config, tmp_path / "judge", 20, 4, 7, told.append)
    with pytest.raises(ValueError, match="must be test or validation"):
        train_judge(config, tmp_path / "judge", 20, 4, 7, told.append, "train")
    assert told == []
    assert not (tmp_path / "judge").exists()
    facts = train_judge(config, tmp_path / "judge", 20, 4, 7, told.append, "validation")
    assert (facts["split"], facts["images"]) == ("validation", 4)
    assert json.loads((tmp_path / "judge" / "judge.json").read_text()) == facts
    assert {path.name for path in tmp_path.iterdir()} == {"records", "judge"}, "nothing half made stays"


def test_the_split_of_training_is_never_measured(finished):
    done = CliRunner().invoke(cli.app, ["evaluate", "--workdir", str(finished[1]), "--split", "train"])
    assert done.exit_code == 2
    assert "test or validation" in done.output


def test_a_judge_is_not_changed_once_it_has_judged(finished, measured):
    again = ["train-judge", "--workdir", str(finished[1]), "--output", str(measured[0] / "judge")]
    assert "must be a new folder" in str(CliRunner().invoke(cli.app, again).exception)


def test_the_report_needs_no_other_file_and_shows_the_matrices(measured):
    page = (measured[0] / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64") == 1
    assert page.count('class="shade"') >= 17 * 17 + 19, "every unit asked against every unit seen, and the confusion"


class Poison(keras.callbacks.Callback):
    """Makes a weight NaN after the step `at` of a `fit`."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.at:
            weight = self.model.segmenter.trainable_variables[0]
            weight.assign(np.full(weight.shape, np.nan))


class Stopper(keras.callbacks.Callback):
    """Asks the process to end, as a scheduler does, in the step that comes after `done` ones."""

    def __init__(self, done):
        super().__init__()
        self.done = done

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.steps_done == self.done:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def begun(records, tmp_path_factory):
    """The configuration of six steps of the segmenter, and the folder where two of them are done."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    config = tiny_run(records, **{"model.segmenter_steps": 6, "training.steps": 6, "training.evaluate_every": 2})
    training.train(changed(config, steps=2), folder)
    return config, folder


@pytest.mark.parametrize("at", [1, 2], ids=["within an interval", "after its last step"])
def test_nan_stops_plainly_and_is_never_saved(begun, tmp_path, at):
    config, folder = begun
    shutil.copytree(folder, tmp_path / "run")
    with pytest.raises(training.TrainingStopped, match=r"NaN at step.*learning_rate"):
        training.train(config, tmp_path / "run", callbacks=(Poison(at),))
    model = workdir.load_run(tmp_path / "run")
    assert model.steps_done == 2
    assert not workdir.not_finite(model)
    assert [line["step"] for line in workdir.read_history(tmp_path / "run")] == [2]


def test_a_run_goes_on_with_the_cache_it_began_with_as_one_left_alone(records, tmp_path):
    settings = {"model.segmenter_steps": 4, "training.steps": 4, "training.evaluate_every": 2}
    auto, said = tiny_run(records, **settings), []
    with pytest.raises(training.TrainingStopped):
        training.train(cached(auto, False), tmp_path / "cut", callbacks=(Stopper(1),))
    ended = training.train(auto, tmp_path / "cut", report=said.append)
    assert "read and decoded anew, as this run began (data.cache = true for the other)" in said[0]
    assert workdir.read_config_of(tmp_path / "cut") == cached(auto, False)
    whole = training.train(cached(auto, False), tmp_path / "whole")
    for one, other in zip(ended.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_a_cache_set_against_what_the_run_had_is_told(records):
    auto, said = tiny_run(records), []
    assert training.with_cache_chosen(cached(auto), cached(auto, False), said.append) == cached(auto)
    assert "another order" in said.pop()
    for before in (None, auto, cached(auto)):
        assert training.with_cache_chosen(cached(auto), before, said.append) == cached(auto)
    assert not said
    assert training.with_cache_chosen(auto, auto, said.append) == cached(auto), "a run of 0.1 did not keep its choice"


def test_what_the_cache_takes_counts_validation_as_it_is_kept(records):
    pixels = 32 * 32 * (2 * 3 + 3 + 1)  # a face and its true target; a photo and its mask
    assert training._decoded_size(tiny_run(records)) == 12 * pixels + 4 * 4 * pixels
    few = tiny_run(records, **{"training.validation_batches": 1, "data.photo_scale": 2})
    assert training._decoded_size(few) == 4 * 12 * pixels + 4 * 2 * pixels


def test_a_run_of_the_segmenter_alone_needs_no_expressions(records, tmp_path):
    config = tiny_run(records, **{"model.segmenter_steps": 2, "training.steps": 2})
    masks = {"expression": (), "segmentation": config.data.expression}
    alone = config.model_copy(update={"data": config.data.model_copy(update=masks)})
    model = training.train(alone, tmp_path / "run")
    assert evaluate_run(model, **training.streams(alone, "test"))["images"] == {"segmentation": 4}


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_resumes(records, tmp_path):
    folder = tmp_path / "run"
    tiny = [f"--set=model.{name}={value}" for name, value in TINY.items() if name != "image_size"]
    steps = [
        "--set=model.regions=none",
        "--set=model.segmenter_steps=100000",
        "--set=training.steps=100000",
        "--set=training.evaluate_every=100000",
        "--set=training.batch_size=2",
    ]
    command = [
        sys.executable,
        "-c",
        "from seghgan_tf.cli import main; main()",
        "train",
        "--config=drawn-64",
        f"--workdir={folder}",
        f"--expression={records}",
    ]
    with subprocess.Popen(
        [*command, *tiny, *steps],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list(folder.glob("tensorboard/events*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors[-500:]
    assert "the same command goes on" in errors
    assert workdir.load_run(folder).steps_done > 0


@pytest.mark.slow
@eagerly()
def test_a_run_stopped_anywhere_ends_with_the_weights_and_the_evaluations_of_one_left_alone(records, tmp_path):
    settings = {"model.segmenter_steps": 4, "training.steps": 10, "training.evaluate_every": 3}
    config = tiny_run(records, **settings)
    for stop in (2, 3, 4, 6, 7, 9):  # within intervals, at their ends and at a stage's
        with pytest.raises(training.TrainingStopped, match=f"SIGTERM.* from step {stop}$") as stopped:
            training.train(config, tmp_path / "stopped", callbacks=(Stopper(stop - 1),))
        assert stopped.value.exit_status == 128 + signal.SIGTERM
    ended = training.train(
        config, tmp_path / "stopped", callbacks=(Stopper(9),)
    )  # in the last step: nothing to go on with
    whole = training.train(config, tmp_path / "whole")
    for one, other in zip(ended.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    histories = [workdir.read_history(tmp_path / name) for name in ("stopped", "whole")]
    assert [line["step"] for line in histories[0]] == [3, 4, 7, 10]
    measured = [[{key: line[key] for key in line if key.startswith("val_")} for line in each] for each in histories]
    assert [line["step"] for line in histories[1]] == [3, 4, 7, 10]
    assert measured[0] == measured[1], "the training means of a cut interval alone are of fewer steps"


def test_a_missing_run_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="seghgan train"):
        workdir.read_config_of(tmp_path)
    with pytest.raises(ValueError, match="seghgan train"):
        workdir.load_run(tmp_path)


def test_imagenets_weights_see_the_colours_they_were_trained_with(tmp_path):
    from keras_hub.models import ResNetBackbone

    chance = np.random.default_rng(1)
    resnet18 = {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "block_type": "basic_block"}
    stages = {
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": [2] * 4,
        "stackwise_num_strides": [1, 2, 2, 2],
    }
    backbone = ResNetBackbone(**resnet18, **stages)
    backbone.get_layer("conv1_bn").moving_mean.assign(chance.normal(size=64))
    backbone.save_to_preset(str(tmp_path))
    model = SegHGAN({**TINY, "regions": "none", "segmenter": "bisenet", "segmenter_width": 64})
    pretrained.load_context_path(model, str(tmp_path))

    def first(network, image):
        for name in ("conv1_pad", "conv1_conv", "conv1_bn"):
            image = network.get_layer(name)(image)
        return np.asarray(image)[:, 2:-2, 2:-2]

    pixels = chance.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    normal = (pixels / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    found = first(model.segmenter.get_layer("context_pyramid"), pixels / 127.5 - 1)
    np.testing.assert_allclose(found, first(backbone, normal), atol=1e-4)


def test_resnet_weights_need_a_bisenet_and_a_preset_folder(tmp_path):
    model = training.build(read_config("drawn-64", ("model.segmenter_width=4",)))
    with pytest.raises(ValueError, match="ResNet-18"):
        pretrained.load_context_path(model, tmp_path)
