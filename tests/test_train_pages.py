"""Every command of the pages that lead from a download to a served model runs, in order, on a miniature of the published layout."""

import contextlib
import json
import re
import shlex
import signal
import tomllib
import warnings

import numpy as np
import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from seghgan_tf.cli import app
from tests.conftest import ROOT, TINY
from tests.data_tools import layouts
from tests.tiny import eagerly

pytestmark = pytest.mark.slow

PAGES = {
    "train-celebamask": "celebamask",
    "train-affectnet": "affectnet",
    "train-rafd": "rafd",
    "train-your-photos": "mine",
}
"""What each page calls its run, in the order in which a reader follows them: the first converts the masks that the others take."""

SMALL = {name: value for name, value in TINY.items() if name != "segmenter"} | {"regions": "none"}
SHORT = {"steps": 2, "batch_size": 2, "evaluate_every": 2, "validation_batches": 1}


def commands(page):
    """Return the commands of a page's blocks, each as its words."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"```\n(.+?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(("seghgan ", "tensorboard "))]


def made_small(words):
    """Return a command with what makes it short: one process, a tiny model, two steps."""
    if words[1:3] == ["data", "convert"]:
        return [*words, "--workers", "1"]
    if words[1] == "train-judge":
        return [*words, "--steps", "2", "--width", "4"]
    if words[1] != "train":
        return words
    small = {f"model.{name}": value for name, value in SMALL.items()}
    small |= {f"training.{name}": value for name, value in SHORT.items()}
    if "celebamask-512" in words:
        small["model.segmenter_steps"] = 2
    else:
        small |= {"model.segmenter_steps": 0, "model.segmenter": "one-layer"}  # the first page trains the true one
    return [*words, *(word for name, value in small.items() for word in ("--set", f"{name}={value}"))]


def run(words):
    """Run one command here; TensorBoard reads the runs and ends."""
    if words[0] == "tensorboard":
        with warnings.catch_warnings(action="ignore"):
            from tensorboard import default, program
        board = program.TensorBoard(default.get_plugins())
        board.configure([*words, "--inspect"])
        before = signal.getsignal(signal.SIGTERM)  # TensorBoard takes it for itself
        assert board.main() == 0
        signal.signal(signal.SIGTERM, before)
        return
    short = words[1] in ("train", "train-judge", "evaluate")
    with eagerly() if short else contextlib.nullcontext():
        done = CliRunner().invoke(app, made_small(words)[1:])
    assert done.exit_code == 0, f"{shlex.join(words)}\n{done.output[-2000:]}\n{done.exception!r}"


def people(root, names):
    """Photos of one real face under other names and lights; mtcnn finds it."""
    face = Image.fromarray(data.astronaut()).crop((100, 0, 356, 256))
    for i, name in enumerate(names):
        layouts.save_jpeg(root / name, np.clip(np.asarray(face) * (0.8 + 0.02 * i), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """What the owners ship, in small, and a photo to edit."""
    folder = tmp_path_factory.mktemp("owner")
    layouts.celebamask(folder / "CelebAMask-HQ", 6)
    mapping = ["      idx    orig_idx    orig_file"]
    mapping += [f"{i} {index} {index + 1:06d}.jpg" for i, index in enumerate((0, 1, 162771, 162772, 182638, 182639))]
    (folder / "CelebAMask-HQ" / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping) + "\n")
    faces = [("training.csv", f"1/{i}.jpg", i % 8, 0.1, -0.1) for i in range(12)]
    faces += [("validation.csv", f"2/{i}.jpg", i, 0.2, 0.3) for i in range(2)]
    layouts.affectnet_2017(folder / "AffectNet-2017", faces)
    people(
        folder / "RaFD",
        [f"Rafd090_{i:02d}_Kid_male_{name}_frontal.jpg" for i in range(10) for name in ("happy", "sad")],
    )
    people(folder / "photos", [f"{i}.jpg" for i in range(20)])
    (folder / "photos.csv").write_text("filename,subject\n" + "".join(f"{i}.jpg,person{i // 2}\n" for i in range(20)))
    layouts.write_aus(
        folder / "openface.csv", [f"{i}.jpg" for i in range(20)], 4 * np.random.default_rng(0).random((20, 17))
    )
    people(folder, ["me.jpg"])
    return folder


@pytest.mark.parametrize(("page", "name"), PAGES.items())
def test_every_command_of_a_page_runs_in_order(downloads, page, name):
    with contextlib.chdir(downloads):
        for words in commands(page):
            run(words)
        figures = json.loads((downloads / f"{name}.json").read_text())
        (manifest,) = (downloads / "exports" / name).glob("1/manifest.json")
    assert json.loads(manifest.read_text())["training"]["figures"] == figures
    if page != "train-celebamask":
        with Image.open(downloads / f"{name}.png") as edited:
            assert edited.size == (256, 256)
        assert figures["images"]["expression"] > 0


@pytest.mark.parametrize("page", PAGES)
def test_a_page_leads_all_the_way(page):
    steps = [" ".join(words[: 3 if words[1] == "data" else 2]) for words in commands(page)]
    way = [
        "seghgan doctor",
        "seghgan data convert",
        "seghgan data validate",
        "seghgan data inspect",
        "seghgan train",
        "tensorboard --logdir",
    ]
    way += ["seghgan runs", "seghgan train-judge", "seghgan evaluate", "seghgan export", "seghgan edit"]
    assert sorted(dict.fromkeys(steps), key=way.index) == list(dict.fromkeys(steps)), "in another order"
    (extras,) = re.findall(
        r"```\npip install '\.\[(.+)\]'.*\nseghgan doctor", (ROOT / "docs" / f"{page}.md").read_text()
    )
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"serve", "gpu"} == set(extras.split(",")) <= known.keys()
    assert set(steps) == set(way) - ({"seghgan train-judge", "seghgan edit"} if page == "train-celebamask" else set())
