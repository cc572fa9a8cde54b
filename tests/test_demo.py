"""The demo, shortened: every stage runs for real, and the report and the figures are whole."""

import json
import re

import pytest

from seghgan_tf.demo import run as demo
from seghgan_tf.expressions import AUS, EMOTIONS
from seghgan_tf.model import checkpoint


def test_the_packages_checkpoint_is_small_and_says_how_it_was_made():
    assert demo.CHECKPOINT.stat().st_size < 8_000_000
    facts = checkpoint.facts(demo.CHECKPOINT)
    assert {"command", "seed", "steps", "seconds", "machine", "date", "figures"} <= set(facts)


@pytest.mark.slow
def test_the_demo_meets_its_promises_on_people_it_never_saw(tmp_path, monkeypatch):
    monkeypatch.setitem(demo.FACES, False, (48, 16, 60))
    monkeypatch.setattr(demo, "GO_ON", (*demo.GO_ON, "training.steps=6", "training.evaluate_every=3"))
    figures = demo.run_demo(tmp_path / "demo", people=8, seed=5)
    assert figures["miou"] >= 0.80
    assert figures["edit_error_ratio"] <= 0.62
    assert figures["edit_error_ratio_384"] <= 0.68
    assert figures["emotion_error_ratio_384"] <= 0.74
    assert figures["outside_change"] <= 0.02
    assert figures["parity"] <= 1e-5
    assert set(figures["per_expression"]) == set(figures["per_expression_384"]) == {*AUS, *EMOTIONS[1:]}
    assert {"emotion_error_ratio", "edit_error_ratio_384", "emotion_error_ratio_384"} <= set(figures)
    assert set(figures["stages"]) == {"draw", "train", "evaluate", "export", "serve and edit"}
    assert json.loads((tmp_path / "demo" / "figures.json").read_text()) == json.loads(json.dumps(figures))
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("data:image/png;base64") == 4
    assert not re.search(r'(src|href)="(?!data:)', page), "the report must need no other file"
    assert all(au in page for au in AUS)
