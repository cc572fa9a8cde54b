"""OpenVINO, an engine that shares no code with TensorFlow, computes the same from the same SavedModel."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

openvino = pytest.importorskip("openvino", reason="an independent oracle: pip install openvino (extra dev)")


def largest_difference(saved_model: Path, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the largest absolute difference between TensorFlow and OpenVINO for each output of a signature."""
    function = tf.saved_model.load(str(saved_model)).signatures[signature]
    ours = {name: value.numpy() for name, value in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()}
    alone = tf.Module()
    alone.function = function
    folder = saved_model.parent / f".openvino-{signature}"
    loaded = tf.saved_model.load(str(saved_model))
    tf.saved_model.save(loaded, str(folder), signatures={"serving_default": loaded.signatures[signature]})
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(folder), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = {port.get_any_name().split(":")[0].removeprefix(f"{signature}_"): port for port in compiled.inputs}
    fed = {port: inputs[next(key for key in inputs if key in name)] for name, port in names.items()}
    results = compiled(fed)
    differences = {}
    for name, value in ours.items():
        candidates = [
            np.asarray(results[port]) for port in compiled.outputs if name in port.get_names() or len(ours) == 1
        ]
        candidates = candidates or [np.asarray(results[port]) for port in compiled.outputs]
        matching = [one for one in candidates if one.shape == value.shape]
        differences[name] = min(float(np.abs(one.astype(np.float64) - value).max()) for one in matching)
    return differences


@pytest.mark.parametrize("signature", ["serving_default", "segment", "analyze"])
def test_openvino_agrees_to_a_ten_thousandth(export: Path, signature: str) -> None:
    random = np.random.default_rng(0)
    inputs = {"image": random.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)}
    if signature == "serving_default":
        inputs |= {"expression": random.random((2, 3), np.float32), "regions": np.float32([[1, 0, 0, 0], [0, 0, 1, 1]])}
    assert max(largest_difference(export / "1", signature, inputs).values()) <= 1e-4
