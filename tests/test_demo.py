"""The demo, shortened: every stage runs for real, and the report and the figures are whole."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from seghgan_tf.config import read_config
from seghgan_tf.demo import run as demo
from seghgan_tf.evaluation import gate
from seghgan_tf.expressions import AUS, EMOTIONS
from seghgan_tf.model import SegHGAN, checkpoint
from seghgan_tf.training import run as training
from seghgan_tf.training import runs
from tests.conftest import TINY
from tests.tiny import eagerly


def packaged():
    return sorted(checkpoint.CHECKPOINTS.glob("*.npz"))


@pytest.mark.parametrize("path", [path for path in packaged() if path.stem != "mtcnn"], ids=lambda path: path.stem)
def test_packaged_weights_are_small_and_say_how_they_were_made(path):
    assert path.stat().st_size < 12_000_000
    facts = checkpoint.facts(path)
    assert {"command", "seed", "steps", "seconds", "machine", "date", "figures"} <= set(facts)
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stem == "drawn-64" or "CC BY 4.0" in facts["data"]


def test_a_segmenter_trained_alone_has_the_same_start_and_the_same_steps():
    tiny = tuple(f"model.{name}={value}" for name, value in TINY.items() if name != "segmenter")
    together = read_config("drawn-64", (*tiny, "training.steps=30", "model.segmenter_steps=4"))
    alone = demo.segmentation_alone(together)
    differs = runs.differing([config.model_dump() for config in (together, alone)])
    assert differs == [{"model.segmenter_steps": 4}, {"model.segmenter_steps": 30}]
    assert training.stages(alone) == (("segmenter", 30), ("paired", 30), ("joint", 30))
    starts = [training.build(config).segmenter.get_weights() for config in (together, alone)]
    for one, other in zip(*starts, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_demo_meets_its_promises_on_people_it_never_saw(tmp_path, monkeypatch):
    monkeypatch.setitem(demo.FACES, False, (16, 4, 24))
    short = ("training.steps=4", "training.evaluate_every=4", "training.batch_size=4", "training.validation_batches=1")
    monkeypatch.setattr(demo, "GO_ON", (*demo.GO_ON, *short))
    monkeypatch.setattr(demo, "_train", eagerly()(demo._train))
    saved = tmp_path / "gone-on.npz"
    figures = demo.run_demo(tmp_path / "demo", people=8, seed=5, save_checkpoint=saved)
    assert figures["miou"] >= 0.80
    assert figures["edit_error_ratio"] <= 0.50
    assert figures["edit_error_ratio_384"] <= 0.60
    assert figures["emotion_error_ratio_384"] <= 0.65
    assert figures["outside_change"] <= 0.02
    assert figures["parity"] <= 1e-5
    assert set(figures["per_expression"]) == set(figures["per_expression_384"]) == {*AUS, *EMOTIONS[1:]}
    assert {"emotion_error_ratio", "edit_error_ratio_384", "emotion_error_ratio_384"} <= set(figures)
    assert set(figures["stages"]) == {"draw", "train", "evaluate", "export", "serve and edit"}
    assert json.loads((tmp_path / "demo" / "figures.json").read_text()) == json.loads(json.dumps(figures))
    checks = gate.judge(tmp_path / "demo" / "export", None)
    assert {check.figure for check in checks} == {"miou", "error_ratio", "outside_change"}
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("data:image/png;base64") == 4
    assert not re.search(r'(src|href)="(?!data:)', page), "the report must need no other file"
    assert all(au in page for au in AUS)
    facts = checkpoint.facts(saved)
    assert facts["command"] == "seghgan demo --seed 5 --save-checkpoint gone-on.npz"
    assert facts["began_from"] == checkpoint.facts(demo.CHECKPOINT)["sha256"]
    shown = (*demo.LIMITS, "emotion_error_ratio", "outside_change_384")
    assert facts["figures"].keys() == {*shown, "error_ratios", "error_ratios_384"}
    assert all(facts["figures"][name] == figures[name] for name in shown)
    assert SegHGAN.from_preset(saved).config.image_size == 64


def test_a_checkpoint_from_nothing_keeps_its_comparison_and_one_that_went_on_claims_none():
    shown = (*demo.LIMITS, "emotion_error_ratio", "outside_change_384", "miou_alone", "miou_drop")
    figures = dict.fromkeys(shown, 0.5) | {
        key: {"AU12": {"error_ratio": 0.4}} for key in ("per_expression", "per_expression_384")
    }
    figures |= {
        "trained": True,
        "seed": 3,
        "steps": 9,
        "total_seconds": 1.0,
        "preset": "drawn-64-unpaired",
        "from_scratch": True,
    }
    facts = demo.checkpoint_facts(figures, "x.npz")
    assert facts["command"] == "seghgan demo --from-scratch --preset drawn-64-unpaired --seed 3 --save-checkpoint x.npz"
    assert {"miou_alone", "miou_drop"} <= facts["figures"].keys()
    assert "began_from" not in facts
    facts = demo.checkpoint_facts(figures | {"preset": "drawn-64", "from_scratch": False}, "x.npz")
    assert facts["command"] == "seghgan demo --seed 3 --save-checkpoint x.npz"
    assert not {"miou_alone", "miou_drop"} & facts["figures"].keys()
    assert facts["figures"]["error_ratios"] == {"AU12": 0.4}
    facts, known = (
        demo.checkpoint_facts(figures | {"from_scratch": False, "trained": False}, "x.npz"),
        checkpoint.facts(demo.CHECKPOINT),
    )
    assert facts["measured"]["command"] == "seghgan demo --no-train --seed 3 --save-checkpoint x.npz"
    assert {name: facts[name] for name in ("command", "steps", "date")} == {
        name: known[name] for name in ("command", "steps", "date")
    }
    with pytest.raises(ValueError, match="`train` must be set"):
        demo.run_demo(Path("nowhere"), from_scratch=True, train=False)


@pytest.mark.slow
def test_the_packages_weights_are_measured_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setitem(demo.FACES, False, (48, 16, 24))
    saved = tmp_path / "same.npz"
    figures = demo.run_demo(tmp_path / "demo", train=False, people=2, seed=5, save_checkpoint=saved)
    assert set(figures["stages"]) == {"draw", "evaluate", "export", "serve and edit"}
    assert figures["steps"] == checkpoint.facts(demo.CHECKPOINT)["steps"]
    assert figures["edit_error_ratio"] <= 0.60
    assert set(checkpoint.facts(saved)["figures"]["error_ratios"]) == {*AUS, *EMOTIONS[1:]}
    with np.load(saved) as same, np.load(demo.CHECKPOINT) as packaged_weights:
        for name in packaged_weights.files:
            np.testing.assert_array_equal(same[name], packaged_weights[name])
