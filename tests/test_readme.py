"""README's figures are those that the packaged models' files hold."""

import json
import re

from seghgan_tf.expressions import AUS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def figures(preset):
    return json.loads((ROOT / "seghgan_tf" / "checkpoints" / f"{preset}.json").read_text())["figures"]


def test_drawn_faces_table_and_units_are_measured():
    measured = figures("drawn-64")
    section = README.partition("### Drawn faces")[2].partition("## Stack")[0]
    told = [float(value) for value in re.findall(r"^\| [^|]+ \| (0\.\d+) \|", section, re.MULTILINE)]
    names = ["miou", "edit_error_ratio", "emotion_error_ratio", "edit_error_ratio_384", "emotion_error_ratio_384"]
    assert told == [*(round(measured[name], 3) for name in names), round(measured["outside_change"], 5)]
    units = dict(re.findall(r"(AU\d\d) (0\.\d\d)", section))
    assert {unit: float(value) for unit, value in units.items()} == {
        unit: round(measured["error_ratios"][unit], 2) for unit in AUS
    }


def test_photographs_table_tells_what_the_judge_saw():
    measured = figures("portrait-128")
    section = README.partition("### Photographs")[2].partition("### Drawn faces")[0]
    for asked, name in {
        "closed smile": "smile",
        "open smile": "open_smile",
        "`--emotion happy`": "happy",
        "their smile made neutral": "neutral",
    }.items():
        seen = re.search(rf"\| {re.escape(asked)} \| (\d+) / \d+ \|", section).group(1)
        assert int(seen) == measured[f"{name}_seen"], asked
