"""Package a run's weights, with labels scaled: `python benchmarks/calibrate.py RUN OUT.npz AU12=1.1 --unproven AU05,AU06`

A model that learned from many people goes a little less far than it is asked. With AU12=1.25, what was made for an intensity of 5 is made for 4, and a
face that was read as 5 is read as 4: each place where generators take the label is multiplied, each where critics give it is divided. Which
factors fit is measured on people of the validation split (`portrait.py --split validation`), which labels are obeyed by `portrait_units.py`.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from seghgan_tf.config import ModelConfig
from seghgan_tf.model import checkpoint
from seghgan_tf.training.workdir import load_run


def main() -> None:
    """Read weights, scale them, and write them with what is known of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="A run of `seghgan train`, a packaged model or an .npz file.")
    parser.add_argument("output", type=Path)
    parser.add_argument("factors", nargs="*", help="Label and factor, as in AU12=1.1.")
    parser.add_argument("--unproven", default="", help="Labels that were not shown to be obeyed, joined by commas.")
    given = parser.parse_args()
    factors = {label: float(factor) for label, _, factor in (one.partition("=") for one in given.factors)}
    unproven = [label for label in given.unproven.split(",") if label]
    facts, weights = read(given.model)
    labels = ModelConfig.from_stored(facts["model"]).space.labels
    if unknown := [label for label in (*factors, *unproven) if label not in labels]:
        parser.error(f"labels must be among {', '.join(labels)}. Received: {', '.join(unknown)}")
    np.savez_compressed(given.output, **{name: calibrated(name, w, labels, factors) for name, w in weights.items()})
    facts["model"]["unproven"] = unproven
    facts |= {"sha256": hashlib.sha256(given.output.read_bytes()).hexdigest(), "calibration": factors}
    given.output.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def read(model: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return facts and weights of a run's folder, a packaged model or an .npz file; figures of the uncalibrated weights are left behind."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "weights.npz" if Path(model).is_dir() else checkpoint.path_of(model)
        if Path(model).is_dir():
            checkpoint.save(load_run(Path(model)), source, {})
        with np.load(source) as weights:
            found = {name: weights[name] for name in weights.files}
        return {key: value for key, value in checkpoint.facts(source).items() if key != "figures"}, found


def calibrated(name: str, weight: np.ndarray, labels: tuple[str, ...], factors: dict[str, float]) -> np.ndarray:
    """Return the weight of a variable by its path, scaled where it meets labels: by rows or channels of a generator, columns of a critic."""
    dtype = weight.dtype
    scale = np.array([factors.get(label, 1.0) for label in labels], np.float32)
    if name.endswith(("gain_asked", "shift_asked")):
        weight = weight * scale[:, None]
    elif name.startswith("generator") and name.endswith("full_conv/kernel"):
        weight = weight * np.concatenate([np.ones(3), scale, np.ones(weight.shape[2] - 3 - len(scale))])[:, None]
    elif name.startswith("critic") and "/expression/" in name:
        weight = weight / scale
    return weight.astype(dtype)


if __name__ == "__main__":
    main()
