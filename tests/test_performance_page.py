"""What the pages say of speed is what the kept measurements say."""

import importlib.util
import json

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
