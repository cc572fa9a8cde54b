"""The comparison of variants: paired by person and seed, shared among processes, resumed, and shown while it is partial."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seghgan_tf import cli
from seghgan_tf.config import read_config
from seghgan_tf.evaluation import ablation, comparison, cost
from seghgan_tf.training import run as training
from seghgan_tf.training import workdir
from tests.conftest import TINY
from tests.tiny import eagerly
from tfrecords_tools.draw import draw_dataset


def people(**sums):
    """One run's rows of a mean over images, one image a person."""
    return {"borders": {name: [value, 1.0] for name, value in sums.items()}}


def test_the_bootstrap_of_two_people_is_the_one_by_hand():
    found = comparison.difference("boundary_f1", [people(ann=1.0, bob=5.0)], [people(ann=0.0, bob=2.0)])
    assert found["seeds"] == [2.0]
    assert found["interval"] == [1.0, 3.0], "a quarter of all draws is ann twice (1 - 0), a quarter bob twice (5 - 2)"


def test_the_bootstrap_of_a_ratio_draws_people_and_not_their_ratios():
    base = {"pairs": {name: [1.0, 1.0, 0.0, 1.0, 2.0, 1.0] for name in "abc"}}  # a ratio of 1 whoever is drawn
    ours = {"pairs": {"a": [1.0, 2.0, 0, 1, 2, 1], "b": [3.0, 4.0, 0, 1, 2, 1], "c": [9.0, 10.0, 0, 1, 2, 1]}}
    found = comparison.difference("error_ratio", [ours], [base])
    assert found["difference"] == pytest.approx(13 / 16 - 1), "sums over sums"
    assert found["interval"] == pytest.approx([1 / 2 - 1, 9 / 10 - 1]), "1 of 27 draws is one person three times: 3.7 %"


def test_people_are_paired_by_name_and_seeds_by_number():
    rng = np.random.default_rng(0)
    faces = {f"p{i}": float(value) for i, value in enumerate(rng.normal(0, 100, 30))}
    better = {name: value + 1 for name, value in reversed(faces.items())}
    found = comparison.difference("boundary_f1", [people(**better)], [people(**faces)])
    assert found["interval"] == pytest.approx([1.0, 1.0]), "faces differ by 100, but each by itself gains 1"
    much = {name: value + 3 for name, value in faces.items()}
    found = comparison.difference("boundary_f1", [people(**better), people(**much)], [people(**faces)] * 2)
    assert (found["seeds"], found["difference"]) == (pytest.approx([1.0, 3.0]), pytest.approx(2.0))
    with pytest.raises(ValueError, match="other people"):
        comparison.difference("boundary_f1", [people(ann=1.0, bob=2.0)], [people(ann=1.0, eve=2.0)])


def test_only_seeds_that_both_have_are_compared():
    group = {
        "joint": {0: {"boundary_f1": 0.5, "by_person": people(a=0.0, b=1.0)}},
        "none": {s: {"boundary_f1": 0.5 + s, "by_person": people(a=s, b=1.0 + s)} for s in (0, 1)},
    }
    found = comparison.compare(group, "joint")
    assert found["none"]["figures"]["boundary_f1"] == {
        "mean": 1.0, "spread": pytest.approx(0.5**0.5), "seeds": {0: 0.5, 1: 1.5}
    }  # fmt: skip
    assert found["none"]["differences"]["boundary_f1"]["seeds"] == [0.0]
    assert found["joint"]["differences"] == {}
    assert comparison.compare({"none": group["none"]}, "joint")["none"]["differences"] == {}


def test_the_dearer_variant_is_read_off_earlier_on_its_curve():
    config = read_config("drawn-64", ("training.steps=40", "model.segmenter_steps=20", "model.paired_steps=20"))
    history = [
        {"step": step, "val_miou": step / 100, "val_paired": paired}
        for step, paired in ((20, 0.0), (30, 4.0), (40, 2.0))
    ]
    costs = {"none": {"segmenter": 1.0, "paired": 1.0}, "joint": {"segmenter": 1.0, "paired": 4 / 3}}
    found = comparison.at_equal_cost(dict.fromkeys(costs, config), {name: {0: history} for name in costs}, costs)
    assert found["budget"] == 40.0
    dear = found["variants"]["joint"]
    assert dear["steps"] == pytest.approx(35.0), "20 seconds for the segmenter alone, 20 / (4/3) = 15 paired steps"
    assert dear["figures"]["paired"]["mean"] == pytest.approx(3.0), "half way; 0 means that the stage has none"
    assert dear["figures"]["miou"]["mean"] == pytest.approx(0.35)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    records = tmp_path_factory.mktemp("records") / "drawn"
    draw_dataset(records, 12, 4, 4, 64, 3)
    tiny = {f"model.{name}": value for name, value in TINY.items() if name != "image_size"}
    values = tiny | {
        "model.segmenter_steps": 0, "model.paired_steps": 2, "model.expression_space": "AU12,AU25", "training.steps": 2, "training.batch_size": 2,
        "training.evaluate_every": 1, "data.expression": [str(records)],
    }  # fmt: skip
    return tuple(f"{name}={json.dumps(value)}" for name, value in values.items())


def ablate(settings, folder, *more):
    words = ["ablate", "--config", "drawn-64", "--workdir", str(folder), "--variant", "none", "--variant", "boxes"]
    with eagerly():
        done = CliRunner().invoke(
            cli.app, [*words, *(word for each in settings for word in ("--set", each)), "--baseline", "none", *more]
        )
    assert done.exit_code == 0, done.output
    return done.output, json.loads((folder / "ablation.json").read_text())


def test_work_is_shared_resumed_and_shown_while_it_is_partial(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "ROUNDS", 2)
    monkeypatch.setattr(cost, "STEPS", 1)
    said, found = ablate(settings, tmp_path, "--no-train")
    assert found["missing"] == {"unet-none-0": "at step 0 of 2", "unet-boxes-0": "at step 0 of 2"}

    said, found = ablate(settings, tmp_path, "--only", "*-none-0")
    assert list(found["figures"]) == ["unet-none-0"]
    assert "at step 0 of 2: unet-boxes-0" in said
    assert "measured: 1 of 2 runs" in said
    measured = (tmp_path / "unet-none-0" / "figures.json").stat().st_mtime_ns

    half = ablation.plan("drawn-64", (*settings, "training.steps=1"), ("boxes",), (), 1)["unet-boxes-0"]
    with eagerly():
        training.train(half, tmp_path / "unet-boxes-0")  # as `seghgan train` leaves it when it is cut
    with workdir.locked(tmp_path / "unet-boxes-0"):
        said, found = ablate(settings, tmp_path)
    assert "no other process trains" in said.replace("\n", " ")
    assert found["missing"] == {"unet-boxes-0": "at step 1 of 2"}

    with eagerly():
        training.train(
            ablation.plan("drawn-64", settings, ("boxes",), (), 1)["unet-boxes-0"], tmp_path / "unet-boxes-0"
        )
    assert ablate(settings, tmp_path, "--only", "unet-none-*")[1]["missing"] == {
        "unet-boxes-0": "trained, not measured"
    }
    page = tmp_path / "page.md"
    page.write_text(f"# Results\n{ablation.BEGIN}old\n{ablation.END}the end\n")
    said, found = ablate(settings, tmp_path, "--no-train", "--cost", "--markdown", str(page))
    assert found["missing"] == {}
    assert (tmp_path / "unet-none-0" / "figures.json").stat().st_mtime_ns == measured, "figures that are there stay"
    assert [line["step"] for line in workdir.read_history(tmp_path / "unet-boxes-0")] == [1, 2]
    assert set(found["compared"]["unet"]["boxes"]["differences"]) == set(comparison.COMPARED)
    assert set(found["equal_cost"]["unet"]["variants"]["boxes"]["cost"]) == {"paired"}
    with Image.open(tmp_path / "ablation.png") as picture:
        assert picture.size == ((4 * 66 - 2) * 2, (2 * 66 - 2) * 2), "photo, truth, two edits; down two people, a batch"

    text = page.read_text()
    assert text.startswith("# Results\n<!--")
    assert text.endswith("the end\n")
    assert "old" not in text
    assert "| miou | boxes - none |" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="must hold the lines"):
        ablation.report(
            ablation.plan("drawn-64", settings, ("none",), (), 1), tmp_path, "none", page, ablation.Console()
        )


@pytest.mark.parametrize(
    ("trained", "step", "why"),
    [
        ({"steps": 5000}, 5000, "trained with training.steps = 5000"),
        ({"learning_rate": 0.5}, 2, "trained with training.learning_rate = 0.5"),
        ({}, 1, "at step 1, not 2"),  # trained further by hand, and not measured again
    ],
)
def test_figures_of_another_budget_are_named_and_not_compared(settings, tmp_path, trained, step, why):
    other = tuple(f"training.{name}={value}" for name, value in trained.items())
    config = ablation.plan("drawn-64", (*settings, *other), ("none",), (), 1)["unet-none-0"]
    folder = tmp_path / "unet-none-0"
    folder.mkdir()
    (folder / "config.json").write_text(config.model_dump_json())
    (folder / "figures.json").write_text(json.dumps({"miou": 0.9, "measured": {"step": step}}))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    said, found = ablate(settings, tmp_path, "--only", "*-none-0")
    assert said.replace("\n", " ").count(why) == 2, "left out, and missing"
    assert "measured: 0 of 2 runs" in said
    assert found["missing"]["unet-none-0"].startswith(why)
    assert found["figures"] == {}
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_is_cut_with_another_rate_does_not_go_on(settings, tmp_path):
    config = ablation.plan("drawn-64", (*settings, "training.learning_rate=0.5"), ("none",), (), 1)["unet-none-0"]
    (tmp_path / "unet-none-0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "unet-none-0" / "config.json").write_text(config.model_dump_json())
    (tmp_path / "unet-none-0" / "checkpoints" / "step-00000001.keras").touch()
    _, found = ablate(settings, tmp_path, "--only", "*-none-0")
    assert found["missing"]["unet-none-0"].startswith("trained with training.learning_rate = 0.5")


def test_a_pattern_that_names_no_run_is_refused(settings, tmp_path):
    done = CliRunner().invoke(cli.app, ["ablate", "--config", "drawn-64", "--workdir", str(tmp_path), "--only", "x"])
    assert done.exit_code == 2
    assert "unet-none-0" in done.output
