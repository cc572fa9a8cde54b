"""One place to change: a toy of each kind is written into a copy of the packages, in the files named here and no other, and runs."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMON = """
import json, keras, numpy as np, tensorflow as tf
from pathlib import Path
from seghgan_tf.model import SegHGAN, role_optimizer
TINY = {"image_size": 32, "segmenter": "unet", "segmenter_width": 4, "generator_width": 4, "generator_blocks": 1,
        "local_width": 4, "local_blocks": 1, "critic_width": 4, "critic_steps": 1}
def trained(**settings):
    model = SegHGAN(TINY | settings)
    model.compile(optimizer=role_optimizer(*(keras.optimizers.Adam(1e-3) for _ in range(3))), jit_compile=False, run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    faces = {"image": image, "expression": rng.uniform(0, 1, (2, model.config.space.size)).astype("float32")}
    masks = {"image": image, "mask": rng.integers(0, 19, (2, 32, 32)).astype("int32")}
    data = tf.data.Dataset.from_tensors({"expression": faces, "segmentation": masks}).repeat()
    return model, model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0).history
"""

TOYS = {
    "region": (
        {"seghgan_tf/regions.py": ('    "nose": Region(', '    "ears": Region(_ids("l_ear", "r_ear"), (0.25, 0.75), (0.5, 0.5), ()),\n')},
        """
from seghgan_tf.signatures import describe
from seghgan_tf.regions import COLUMNS
from seghgan_tf.training import health
from serving import signature
model, history = trained()
assert "ears" in model.local_generators and "ears" in model.local_critics
assert np.isfinite(history["area_ears"]).all()
assert health.warnings([{"area_ears": 0.0}]), "the recorder warns of it"
assert "ears" in describe(model)["regions"] and "ears" in COLUMNS
assert signature.model_signatures(describe(model))["segment"].outputs["regions"].shape[-1] == 4
image = np.zeros((1, 32, 32, 3), "float32")
assert model.edit(image, np.ones((1, 17), "float32"), regions=["ears"]).shape == image.shape
assert model.segment(image)["regions"].shape == (1, 32, 32, 4)
""",
    ),
    "segmenter": (
        {
            "seghgan_tf/model/toy.py": (
                None,
                '"""A toy."""\n\nimport keras\n\n\ndef toy(image_size, classes, width):\n'
                "    image = keras.Input((image_size, image_size, 3))\n"
                '    return keras.Model(image, keras.layers.Conv2D(classes, 3, padding="same")(image), name="segmenter")\n',
            ),
            "seghgan_tf/model/segmenters.py": ("\n\nclass Segmenter(", "from seghgan_tf.model.toy import toy\n"),
            "seghgan_tf/model/segmenters.py:": ('"bisenet": Segmenter(', '"toy": Segmenter(toy, 1, hard=False), '),
        },
        """
from seghgan_tf.training.workdir import load_checkpoint
model, history = trained(segmenter="toy", regions="none", segmenter_steps=1)
model.save("toy.keras")
loaded = load_checkpoint(Path("toy.keras"))
np.testing.assert_array_equal(model.segmenter.get_weights()[0], loaded.segmenter.get_weights()[0])
""",
    ),
    "dataset reader": (
        {
            "tfrecords_tools/readers/toy.py": (
                None,
                '"""A toy."""\n\nfrom tfrecords_tools.photo import Photo\n\n\ndef read_toy(folder):\n'
                '    for path in sorted(folder.glob("*.png")):\n        yield Photo(path.stem, str(path), path.name)\n',
            ),
            "tfrecords_tools/readers/__init__.py": ('    "celebamask": Reader(', '    "toy": Reader("tfrecords_tools.readers.toy:read_toy"),\n'),
        },
        """
from PIL import Image
from typer.testing import CliRunner
from seghgan_tf.cli import app
Path("photos").mkdir()
for shade in range(3):
    Image.new("RGB", (64, 64), (shade, 0, 0)).save(f"photos/{shade}.png")
run = lambda *words: CliRunner().invoke(app, ["data", "convert", *words])
assert "toy" in run("--help").output
done = run("toy", "photos", "records", "--workers", "1")
assert done.exit_code == 0, done.output
assert json.loads(Path("records/dataset.json").read_text())["examples"] == 3
""",
    ),
    "expression space": (
        {"seghgan_tf/expressions.py": ('    "va": ExpressionSpace(', '    "smile": ExpressionSpace(("AU06", "AU12"), 0.0, 1.0, False, 5.0),\n')},
        """
from seghgan_tf.config import read_config
from seghgan_tf.signatures import describe
from seghgan_tf.expressions import labelled_space
from seghgan_tf.training.run import streams
from tfrecords_tools.draw import draw_dataset
draw_dataset(Path("faces"), 4, 2, 2, 64, 1)
config = read_config("drawn-64", ("model.expression_space=smile", 'data.expression=["faces"]', "training.batch_size=2"))
batch = next(iter(streams(config, "train")["expression"]))
assert batch["expression"].shape == (2, 2)
model, _ = trained(expression_space="smile", regions="none", segmenter="toy")
assert describe(model)["expression"]["labels"] == ["AU06", "AU12"]
assert labelled_space(["AU06", "AU12"]) == config.model.space
""",
    ),
    "loss term": (
        {
            "seghgan_tf/config.py": ("    cycle: NonNegativeFloat", '    darkness: NonNegativeFloat = 0.5\n    """A toy."""\n'),
            "seghgan_tf/model/losses.py": ("def wasserstein(", 'def darkness(image):\n    """A toy."""\n    return per_example(-image)\n\n\n'),
            "seghgan_tf/model/objectives.py": ('        "attention": losses', '        "darkness": losses.darkness(edited),\n'),
            "seghgan_tf/model/seghgan.py": ('    "segmentation", "adversarial"', '    "darkness",\n'),
        },
        """
model, history = trained(regions="none", segmenter="toy", losses={"darkness": 2.0})
assert np.isfinite(history["darkness"]).all() and any(history["darkness"])
""",
    ),
    "signature": (
        {
            "serving/signature.py": ('        "segment": Signature(', '        "brightness": Signature({"image": image}, {"brightness": Spec("float32", (None,))}),\n'),
            "seghgan_tf/signatures.py": ('        "segment": lambda', '        "brightness": lambda inputs: {"brightness": tf.reduce_mean(inputs["image"], (1, 2, 3))},\n'),
        },
        """
from seghgan_tf.export import export
path = export(loaded, Path("export"))  # of the toy segmenter
assert "brightness" in json.loads((path / "manifest.json").read_text())["signatures"]
run = tf.saved_model.load(str(path)).signatures["brightness"]
assert run(image=tf.ones((2, 32, 32, 3)))["brightness"].numpy().tolist() == [1.0, 1.0]
""",
    ),
}  # fmt: skip
"""For each kind the files it touches, each with the text before which its lines are written, and a program that uses it."""


@pytest.mark.slow
def test_a_new_one_of_each_kind_touches_its_files_alone_and_runs(tmp_path):
    """All in one copy, each program beside the other kinds' toys, so that TensorFlow starts once."""
    for package in ("seghgan_tf", "serving", "tfrecords_tools"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "drawn-64.npz")
        )
    for kind, (files, _) in TOYS.items():
        assert sum(lines.count("\n") for _, lines in files.values()) < 30, kind
        for name, (anchor, lines) in files.items():
            path = tmp_path / name.removesuffix(":")
            if anchor is None:
                assert not path.exists(), kind
                path.write_text(lines)
            else:
                text = path.read_text()
                assert text.count(anchor) == 1, f"{name} must hold {anchor!r} once"
                path.write_text(text.replace(anchor, lines + anchor))
    programs = "".join(f"{program}\nprint({kind!r})\n" for kind, (_, program) in TOYS.items())
    done = subprocess.run(
        [sys.executable, "-c", COMMON + programs], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={"PATH": "", "PYTHONPATH": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert done.returncode == 0, f"after {done.stdout.split()[-1:]}: {done.stderr[-3000:]}"
    assert done.stdout.splitlines()[-1] == "signature"
