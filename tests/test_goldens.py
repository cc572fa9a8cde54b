"""What 0.1.0 computed, held to 1e-6 (norms of gradients to 1e-5): losses and weights of 20 steps, and the files that it wrote."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.config import read_config
from seghgan_tf.expressions import AUS
from seghgan_tf.model import SegHGAN, role_optimizer
from seghgan_tf.model.optimizer import ROLES
from seghgan_tf.training import run as training
from seghgan_tf.training import workdir
from tests.conftest import TINY

GOLDENS = Path(__file__).parent / "goldens"
"""Written by the code of 0.1.0 with `train` and `summary` below, from faces that it drew; not to be written again."""
FORM = {
    "generator": "paint", "steering": "planes", "losses.paired_sizes": 1, "losses.paired": 200.0, "losses.adversarial": 0.2, "losses.expression": 10.0,
    "losses.cycle": 5.0, "losses.attention": 0.02, "average_decay": 0.995, "segmenter_steps": 0, "seed": 3,
}  # fmt: skip
"""What the models of 0.1 were, in settings of today."""
STEPS = 20
RUNS = {"one-critic-step": 1, "two-critic-steps": 2}


def faces():
    """Sixteen drawn faces: `image` and `target` in [-1, 1], `mask`, and both expressions."""
    with np.load(GOLDENS / "faces.npz") as stored:
        values = {key: stored[key] for key in stored.files}
    for key in ("image", "target"):
        values[key] = values[key] / np.float32(127.5) - np.float32(1)
    return values | {"mask": values["mask"].astype(np.int32)}


def batches(critic_steps):
    """Two-stream batches that repeat; without true targets where there are two critic steps."""
    found, sliced = faces(), tf.data.Dataset.from_tensor_slices
    expression = {"image": found["image"], "expression": found["expression"]}
    if critic_steps == 1:
        expression |= {"target_image": found["target"], "target_expression": found["target_expression"]}
    labelled = {"image": found["image"][:8], "mask": found["mask"][:8]}
    return tf.data.Dataset.zip({
        "expression": sliced(expression).batch(2 * critic_steps, drop_remainder=True).repeat(),
        "segmentation": sliced(labelled).batch(2, drop_remainder=True).repeat(),
    })  # fmt: skip


def train(critic_steps):
    """Train 20 steps by plain gradients (Adam would blow rounding up); returns the model and each step's figures."""
    settings = TINY | FORM | {"critic_steps": critic_steps}
    model = training.build(
        read_config("drawn-64", tuple(f"model.{key}={json.dumps(value)}" for key, value in settings.items()))
    )
    optimizer = role_optimizer(*(keras.optimizers.SGD(2e-6) for _ in range(3)))
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    history = model.fit(batches(critic_steps), steps_per_epoch=1, epochs=STEPS, shuffle=False, verbose=0).history
    return model, history


def summary(model):
    """The float64 norm, sum and first values of every trainable variable and running average."""
    named = {v.path: v for role in ROLES for v in model.role_variables(role)}
    named |= {f"average/{v.path}": a for v, a in zip(model.role_variables("generator"), model.averages, strict=True)}
    values = {path: np.asarray(v, np.float64).ravel() for path, v in named.items()}
    return {path: [np.linalg.norm(v), v.sum(), *v[:3]] for path, v in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_losses_and_weights_are_those_of_before(name):
    golden = json.loads((GOLDENS / f"{name}.json").read_text())
    model, history = train(RUNS[name])
    for figure, values in golden["figures"].items():
        # a norm is a sum of many squares, which processors with and without AVX-512 round otherwise
        near = 1e-5 if figure.endswith("gradient_norm") else 1e-6
        np.testing.assert_allclose(history[figure][0], values[0], rtol=near, atol=1e-6, err_msg=figure)
    weights = summary(model)
    assert weights.keys() == golden["weights"].keys()
    for path, values in golden["weights"].items():
        np.testing.assert_allclose(weights[path], values, rtol=1e-6, atol=1e-6, err_msg=path)


def golden_edits(model):
    """The sum and some pixels of two faces' edits by a model that knows AU12 and AU25."""
    found, units = faces(), [AUS.index("AU12"), AUS.index("AU25")]
    edited = model.edit(found["image"][:2], found["expression"][:2, units]).numpy()
    return edited.astype(np.float64).sum(), edited[0, 16, 10:13].ravel()


def test_a_checkpoint_of_before_loads_with_its_weights_and_moments():
    golden = json.loads((GOLDENS / "paint-0.1.json").read_text())
    model = workdir.load_checkpoint(GOLDENS / "paint-0.1.keras")
    weights = {v.path: v.numpy().astype(np.float64) for role in ROLES for v in model.role_variables(role)}
    assert weights.keys() == golden["weights"].keys()
    for path, values in golden["weights"].items():
        np.testing.assert_allclose([np.linalg.norm(weights[path]), weights[path].sum()], values, rtol=1e-6, atol=1e-6)
    for optimizer in model.optimizer.optimizers:
        moments = [v.numpy().ravel() for v in optimizer.variables if v.dtype == "float32"]
        norm, steps = golden["moments"][optimizer.name]
        assert int(optimizer.iterations) == steps == model.steps_done == 3
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(moments).astype(np.float64)), norm, rtol=1e-6)
    total, pixels = golden_edits(model)
    np.testing.assert_allclose(total, golden["edited_sum"], atol=1e-3)
    np.testing.assert_allclose(pixels, golden["edited_first"], atol=1e-5)


def test_packaged_weights_of_before_load_and_edit_as_they_did():
    golden = json.loads((GOLDENS / "paint-0.1.json").read_text())
    model = SegHGAN.from_preset(GOLDENS / "weights-0.1.npz")
    total, pixels = golden_edits(model)
    np.testing.assert_allclose(total, golden["weights_edited_sum"], atol=1e-3)
    np.testing.assert_allclose(pixels, golden["weights_edited_first"], atol=1e-5)


def test_the_packaged_checkpoint_loads():
    model = SegHGAN.from_preset("drawn-64")
    assert all(np.isfinite(v.numpy()).all() for role in ROLES for v in model.role_variables(role))
