"""An optimized export is the plain one without variables: the same answers, served and batched alike."""

import json

import numpy as np
import pytest
import tensorflow as tf

from seghgan_tf.editing import Editor
from seghgan_tf.export import export
from seghgan_tf.likeness import likeness
from seghgan_tf.model import SegHGAN
from serving.bundle.graph import graph_ops, read_graph
from serving.server.batching import read_batching
from serving.server.servable import Servable
from tests.conftest import TINY

SIZE = TINY["image_size"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    tf.keras.utils.set_random_seed(3)
    model = SegHGAN(TINY)
    return model, export(model, tmp_path_factory.mktemp("optimized"), optimize=True)


@pytest.fixture(scope="module")
def servable(exported):
    loaded = Servable("seghgan", 1, exported[1], read_batching())
    yield loaded
    loaded.close()


def requests(count):
    random = np.random.default_rng(1)
    return {
        "image": random.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32),
        "expression": random.uniform(0, 1, (count, 17)).astype(np.float32),
        "regions": np.eye(4, dtype=np.float32)[np.arange(count) % 4],
    }


def test_it_holds_no_variables(exported):
    _, path = exported
    assert not {"VarHandleOp", "ReadVariableOp", "RestoreV2"} & set(graph_ops(read_graph(path)))
    assert not (path / "variables").exists()


def test_a_server_answers_as_the_model_and_batches(exported, servable):
    model, _ = exported
    asked = requests(3)
    tensors = {name: tf.constant(value) for name, value in asked.items()}
    endpoint = servable.endpoint("serving_default")
    before = endpoint.examples[3]
    for name, value in endpoint.run(asked).items():
        np.testing.assert_allclose(value, model(tensors)[name], atol=1e-4)
    assert endpoint.examples[3] == before + 3
    seen = servable.endpoint("analyze").run({"image": asked["image"]})["expression"]
    np.testing.assert_allclose(seen, model.analyze(tensors["image"]), atol=1e-4)
    parts = servable.endpoint("segment").run({"image": asked["image"]})
    assert (parts["labels"] == model.segment(tensors["image"])["labels"].numpy()).mean() > 0.999


def test_an_editor_takes_it_and_edits_a_whole_photo(exported):
    from skimage import data

    from seghgan_tf.photos import read, to_png

    encoded = to_png(data.astronaut())
    changed = (read(Editor.from_export(exported[1]).edit(encoded, {"AU12": 5.0})).pixels != data.astronaut()).any(-1)
    assert 100 < changed.sum() < changed.size / 4


def test_the_manifest_says_how_near_the_plain_export_it_is(exported):
    manifest = json.loads((exported[1] / "manifest.json").read_text())
    assert manifest["optimized"]["people"] == 16
    assert 0 <= manifest["optimized"]["largest_difference"] < 0.1


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_another_edit_is_refused(exported, wrong):
    with pytest.raises(ValueError, match=r"`--optimize` must keep edits within 1/255.*Received: (1.28|nan)/255"):
        likeness(
            "--optimize",
            lambda asked: {"edited": 0.9 * asked["image"]},
            lambda asked: {"edited": 0.9 * asked["image"] + wrong},
            exported[0].config,
        )


def test_batch_normalisations_are_folded_away(tmp_path):
    model = SegHGAN(TINY | {"segmenter": "bisenet"})
    random = np.random.default_rng(4)
    for variable in model.segmenter.variables:
        if "moving" in variable.path or variable.path.endswith(("gamma", "beta")):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    path = export(model, tmp_path, optimize=True)
    assert "FusedBatchNormV3" not in graph_ops(read_graph(path))
    image = requests(2)["image"]
    parts = tf.saved_model.load(str(path)).signatures["segment"](image=tf.constant(image))
    np.testing.assert_allclose(parts["regions"], model.segment(image)["regions"], atol=1e-4)
    assert not any(getattr(layer, "folded", False) for layer in model.segmenter.layers)
