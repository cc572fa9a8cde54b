"""OpenVINO, an engine that shares no code with TensorFlow, computes the same from the same SavedModel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

openvino = pytest.importorskip("openvino", reason="an independent oracle: pip install openvino (extra dev)")


@pytest.fixture(scope="module")
def packaged_model(packaged: Path) -> Any:
    """The packaged model, loaded once."""
    return tf.saved_model.load(str(packaged))


def computed(function: Any, folder: Path, inputs: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """Return a signature's outputs by name from TensorFlow and from OpenVINO."""
    ours = function(**{name: tf.constant(value) for name, value in inputs.items()})
    alone = tf.Module()  # the whole model, with its face finder, takes minutes to write
    alone.weights = list(function.variables)
    tf.saved_model.save(alone, str(folder), signatures={"serving_default": function})
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(folder), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    fed = {port: inputs[next(key for key in inputs if key in port.get_any_name())] for port in compiled.inputs}
    result = compiled(fed)
    theirs = {name: _output(compiled.outputs, result, name, value.shape) for name, value in ours.items()}
    return {name: value.numpy() for name, value in ours.items()}, theirs


def _output(ports: list, result: Any, name: str, shape: tuple) -> np.ndarray:
    (port,) = [one for one in ports if any(name in known for known in one.get_names())] or ports
    output = np.asarray(result[port])
    assert output.shape == shape
    return output


def assert_alike(model: Any, signature: str, folder: Path, size: int, labels: int) -> None:
    random = np.random.default_rng(0)
    inputs = {"image": random.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)}
    if signature == "serving_default":
        regions = np.float32([[1, 0, 0, 0], [0, 0, 1, 1]])
        inputs |= {"expression": random.random((2, labels), np.float32), "regions": regions}
    ours, theirs = computed(model.signatures[signature], folder, inputs)
    for name, value in ours.items():
        np.testing.assert_allclose(theirs[name], value, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("signature", ["serving_default", "segment", "analyze"])
def test_openvino_agrees_to_a_ten_thousandth(export_v1: Path, tmp_path: Path, signature: str) -> None:
    assert_alike(tf.saved_model.load(str(export_v1)), signature, tmp_path, 32, 3)


@pytest.mark.parametrize("signature", ["serving_default", "segment", "analyze"])
def test_openvino_agrees_on_the_packaged_model(packaged_model: Any, tmp_path: Path, signature: str) -> None:
    assert_alike(packaged_model, signature, tmp_path, 64, 17)


@pytest.mark.slow
def test_batching_changes_nothing_in_the_packaged_model(packaged: Path, packaged_model: Any, run_server) -> None:
    from serving.client import SegHGANClient

    random = np.random.default_rng(1)
    images = random.uniform(-1, 1, (3, 64, 64, 3)).astype(np.float32)
    asked = {"expression": random.random((3, 17), np.float32), "regions": np.float32([[1, 0, 0, 0]] * 3)}
    inputs = {"image": images, **asked}
    signature = packaged_model.signatures["serving_default"]
    alone = [
        signature(**{name: tf.constant(value[i : i + 1]) for name, value in inputs.items()})["edited"].numpy()
        for i in range(3)
    ]
    with (
        run_server(model_dir=packaged.parent, enable_model_warmup=False) as (_, address),
        SegHGANClient(address) as client,
    ):
        served = client.predict("serving_default", inputs).outputs["edited"]
    order_of_sums = 3e-5  # a batch is summed in another order than one alone, by processor
    np.testing.assert_allclose(served, np.concatenate(alone), rtol=0, atol=order_of_sums)
