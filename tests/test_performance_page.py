"""What the pages say of speed is what the kept measurements say."""

import importlib.util
import json

import keras
import pytest

from seghgan_tf.model import layers
from tests.conftest import ROOT


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_speed_holds_the_kept_figures():
    page, figures = load("peers/page"), json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text())
    assert page.table(figures) in page.PAGE.read_text()
    assert page.drawing(figures) == (page.IMAGES / "peers.svg").read_text()
    assert set(figures["rows"]["edit-1"]["parameters"].values()) == {8_471_296, 44_860_352, 13_300_416}


def test_the_page_of_serving_holds_the_kept_figures_of_each_form():
    forms = load("forms")
    assert forms.tables(json.loads(forms.RESULTS.read_text())) in forms.PAGE.read_text()


def test_the_page_of_speed_holds_what_the_paper_calculates():
    assert load("peers/paper").table() in (ROOT / "docs" / "performance.md").read_text()


@pytest.mark.parametrize(
    ("page", "preset"),
    [
        ("train-celebamask", "celebamask-512"),
        ("train-affectnet", "affectnet-128"),
        ("train-rafd", "rafd-128"),
        ("train-your-photos", "faces-128"),
    ],
)
def test_a_page_holds_the_cost_of_its_preset_as_it_is_now(page, preset):
    costs, text = load("train_cost"), (ROOT / "docs" / f"{page}.md").read_text()
    assert f"python benchmarks/train_cost.py {preset}`" in text
    for part in costs.text(costs.cost(preset, ())):
        assert part in text


def test_the_cost_counts_every_layer_with_a_kernel():
    coarse, fine = keras.Input((4, 6, 5)), keras.Input((8, 12, 3))
    joined = layers.Conv2D(2)(coarse, fine)
    narrow = keras.layers.Conv2D(7, 3, 2, padding="same", use_bias=False)(joined)
    seen = keras.layers.Dense(11)(keras.layers.Flatten()(narrow))
    joined_products, narrow_products, seen_products = 8 * 12 * 2 * (4 * 5 + 9 * 3), 4 * 6 * 7 * 9 * 2, 4 * 6 * 7 * 11
    costs = load("train_cost")
    found = costs.Pass.through(keras.Model([coarse, fine], seen))
    assert found.flop == 2 * (joined_products + narrow_products + seen_products)
    turned = keras.layers.Conv2DTranspose(2, 4)(coarse)
    with pytest.raises(TypeError, match="are not counted"):
        costs.Pass.through(keras.Model(coarse, turned))
