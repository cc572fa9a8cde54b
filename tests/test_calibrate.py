"""Calibrated weights edit and read as if labels had another scale."""

import json
import sys

import numpy as np
import pytest

from benchmarks import calibrate
from benchmarks.calibrate import calibrated
from seghgan_tf.model import SegHGAN, checkpoint
from tests.conftest import TINY


def test_a_calibrated_model_makes_at_four_what_it_made_at_five_and_reads_a_fifth_less():
    model = SegHGAN(TINY | {"expression_space": "AU12,AU25"})
    rng = np.random.default_rng(0)
    for variable in model.role_variables("generator"):
        variable.assign(variable + rng.normal(0, 0.02, variable.shape))
    image = rng.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    five, four = (np.array([[v, 0.6], [v, 0.0]], np.float32) for v in (1.0, 0.8))
    made, seen = model.field({"image": image, "expression": five}), model.critic(image)["expression"]
    unlike = model.field({"image": image, "expression": four})
    for role in ("generator", "critic"):
        for variable in model.role_variables(role):
            variable.assign(calibrated(variable.path, variable.numpy(), model.config.space.labels, {"AU12": 1.25}))
    np.testing.assert_allclose(model.field({"image": image, "expression": four}), made, atol=2e-3)
    assert np.abs(unlike - made).max() > 1e-2
    np.testing.assert_allclose(model.critic(image)["expression"] * [1.25, 1.0], seen, atol=2e-3)


def test_weights_are_written_with_what_is_known_of_them_and_no_figures_of_others(tmp_path, monkeypatch, capsys):
    checkpoint.save(
        SegHGAN(TINY | {"expression_space": "AU12,AU25"}), tmp_path / "own.npz", {"seed": 3, "figures": {"miou": 0.5}}
    )
    words = ["calibrate.py", str(tmp_path / "own.npz"), str(tmp_path / "new.npz"), "AU12=1.25", "--unproven", "AU25"]
    monkeypatch.setattr(sys, "argv", words)
    calibrate.main()
    facts = json.loads((tmp_path / "new.json").read_text())
    assert facts["model"]["unproven"] == ["AU25"]
    assert (facts["calibration"], facts["seed"], "figures" in facts) == ({"AU12": 1.25}, 3, False)
    assert SegHGAN.from_preset(tmp_path / "new.npz").config.unproven == ("AU25",)
    monkeypatch.setattr(sys, "argv", [*words[:3], "AU1=1.25", "--unproven", "AU25,AU99"])
    with pytest.raises(SystemExit):
        calibrate.main()
    assert "Received: AU1, AU99" in capsys.readouterr().err
