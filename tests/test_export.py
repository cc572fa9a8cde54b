"""What is exported equals the model, serves without our code, and edits photos of any size."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from seghgan_tf.editing import Editor, newest_version
from seghgan_tf.export import _restore, export, wiped
from seghgan_tf.model import SegHGAN
from tests.conftest import TINY

SIZE = TINY["image_size"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    tf.keras.utils.set_random_seed(2)
    model = SegHGAN(TINY)
    folder = tmp_path_factory.mktemp("export")
    return model, folder, export(model, folder, training={"step": 0})


@pytest.fixture(scope="module")
def editor(exported):
    return Editor.from_export(exported[1])


def photo(width, height, kind="PNG", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue(), pixels


def inputs(count=2):
    rng = np.random.default_rng(1)
    return {
        "image": tf.constant(rng.uniform(-1, 1, (count, SIZE, SIZE, 3)), tf.float32),
        "expression": tf.constant(rng.uniform(0, 1, (count, 17)), tf.float32),
        "regions": tf.constant([[1.0, 0, 0, 0], [0, 0, 0, 1.0]][:count]),
    }


def test_the_export_computes_what_the_model_computes(exported):
    model, _, path = exported
    loaded = tf.saved_model.load(str(path))
    for name, value in loaded.signatures["serving_default"](**inputs()).items():
        np.testing.assert_allclose(value, model(inputs())[name], atol=1e-5)
    seen = loaded.signatures["analyze"](image=inputs()["image"])["expression"]
    np.testing.assert_allclose(seen, model.analyze(inputs()["image"]), atol=1e-5)
    parts = loaded.signatures["segment"](image=inputs()["image"])
    assert np.array_equal(parts["labels"], model.segment(inputs()["image"])["labels"])


def test_it_loads_in_a_process_without_our_code(exported, tmp_path):
    _, _, path = exported
    code = (
        "import sys, tensorflow as tf\n"
        f"model = tf.saved_model.load({str(path)!r})\n"
        "print(sorted(model.signatures), [m for m in sys.modules if m.split('.')[0] in ('seghgan_tf', 'serving')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert (
        done.stdout.strip() == "['analyze', 'edit_bytes', 'labels', 'segment', 'serving_default', 'serving_uint8'] []"
    )


def test_the_manifest_names_the_model_and_every_file(exported):
    _, _, path = exported
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["model"]["expression"]["labels"][8] == "AU12"
    assert manifest["model"]["label_order"] == "celebamask-hq/g_mask/1"
    assert set(manifest["files"]) == {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()} - {
        "manifest.json"
    }


def test_a_version_is_never_overwritten(exported):
    model, folder, _ = exported
    with pytest.raises(ValueError, match="--version"):
        export(model, folder)


@pytest.mark.parametrize(("width", "height", "kind"), [(90, 120, "PNG"), (200, 64, "JPEG"), (SIZE, SIZE, "PNG")])
def test_a_photo_comes_back_at_its_own_size_changed_in_its_square_alone(editor, width, height, kind):
    encoded, _ = photo(width, height, kind)
    decode = tf.io.decode_png if kind == "PNG" else lambda e: tf.io.decode_jpeg(e, dct_method="INTEGER_ACCURATE")
    before = decode(encoded).numpy().astype(int)
    after = np.asarray(Image.open(io.BytesIO(editor.edit(encoded, {"AU12": 3.0})))).astype(int)
    assert after.shape == before.shape
    changed = np.argwhere(np.abs(after - before).max(-1) > 0)
    side, top, left = min(width, height), (height - min(width, height)) // 2, (width - min(width, height)) // 2
    assert len(changed)
    assert (changed >= [top, left]).all()
    assert (changed < [top + side, left + side]).all()


def test_a_photo_of_the_models_size_gets_the_models_edit_itself(editor):
    encoded, pixels = photo(SIZE, SIZE)
    asked = {"expression": np.full((1, 17), 0.9, np.float32), "regions": np.eye(4, dtype=np.float32)[:1]}
    served = editor.run("serving_uint8", {"image": pixels[None], **asked})["edited"][0]
    given = {"image_bytes": np.array([encoded], object), "jpeg_quality": np.zeros(1, np.int32)}
    edited = np.asarray(Image.open(io.BytesIO(editor.run("edit_bytes", given | asked)["edited_bytes"][0])))
    assert (served != pixels).any()
    assert np.abs(edited.astype(int) - served).max() <= 1


@pytest.mark.parametrize(("slope", "gone"), [(-1.0, 1.0), (-0.5, 0.0), (0.5, 0.0)])
def test_detail_goes_only_where_the_change_flattens_it(slope, gone):
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 8, 16, 3)).astype(np.float32)
    change = slope * (pixels - 128.0)
    change[:, :, 8:] = 0.0
    found = wiped(tf.constant(pixels), tf.constant(change)).numpy()[0, ..., 0]
    np.testing.assert_allclose(found[:, :6], gone, atol=0.02)
    assert (found[:, 8:] == 0.0).all()


def test_what_is_wiped_out_leaves_no_ghost_on_a_larger_photo():
    large = np.full((128, 128, 3), 200, np.uint8)
    large[61:67, 30:100] = 60
    small = tf.image.resize(large[None].astype(np.float32), (16, 16), antialias=True)
    change = 200.0 - small
    gone = wiped(small, change)
    buffer = io.BytesIO()
    Image.fromarray(large).save(buffer, "PNG")

    def left(share):
        edited = tf.io.decode_png(_restore(buffer.getvalue(), share[0], (change + share * small)[0], tf.constant(0)))
        return np.abs(edited.numpy().astype(int) - 200)

    assert left(gone)[50:78, 40:90].mean() < 0.2 * left(tf.zeros_like(gone))[50:78, 40:90].mean()


def test_no_region_leaves_the_photo_bit_equal(editor):
    encoded, pixels = photo(70, 50)
    outputs = editor.run("edit_bytes", {
        "image_bytes": np.array([encoded], object), "expression": np.zeros((1, 17), np.float32),
        "regions": np.zeros((1, 4), np.float32), "jpeg_quality": np.zeros(1, np.int32),
    })  # fmt: skip
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(outputs["edited_bytes"][0]))), pixels)


def test_jpeg_comes_out_where_a_quality_is_asked(editor):
    assert editor.edit(photo(64, 64)[0], {"AU12": 3.0}, jpeg_quality=90)[:3] == b"\xff\xd8\xff"


def test_a_relative_edit_by_nothing_returns_the_very_bytes(editor):
    encoded, _ = photo(40, 40, "JPEG")
    assert editor.edit(encoded, {"AU12": 0.0}, relative=True) == encoded


@pytest.mark.parametrize(
    ("expression", "regions", "words"),
    [({"AU12": 9.0}, None, "between 0 and 5"), ({"AU99": 1.0}, None, "AU99"), ({"AU12": 1.0}, ["chin"], "chin")],
)
def test_a_wrong_edit_is_refused(editor, expression, regions, words):
    with pytest.raises(ValueError, match=words):
        editor.edit(photo(40, 40)[0], expression, regions=regions)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"no picture at all", "must be a picture.*17 bytes"),
        (b"", "0 bytes"),
        (photo(40, 40)[0][:300], "must be a whole picture"),
        (photo(8, 40)[0], "at least 16 px a side.*Received: 8 x 40"),
    ],
)
def test_a_photo_that_is_none_is_refused_in_words(editor, given, words):
    with pytest.raises(ValueError, match=words):
        editor.edit(given, {"AU12": 1.0})


def png_header(width, height):
    return (
        b"\x89PNG\r\n\x1a\n"
        + (13).to_bytes(4, "big")
        + b"IHDR"
        + width.to_bytes(4, "big")
        + height.to_bytes(4, "big")
        + b"\x08\x02"
        + bytes(40)
    )


@pytest.mark.parametrize(
    "encoded", [b"", b"x" * 64, png_header(100_000, 100_000), png_header(2**31 - 1, 2**31 - 1), png_header(8, 8)]
)
def test_a_bomb_is_refused_by_its_header(editor, encoded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="`image_bytes` must be"):  # and not what a decoder says
        editor.run("edit_bytes", {
            "image_bytes": np.array([encoded], object), "expression": np.zeros((1, 17), np.float32),
            "regions": np.ones((1, 4), np.float32), "jpeg_quality": np.zeros(1, np.int32),
        })  # fmt: skip


def test_an_export_that_was_touched_is_refused(exported, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(exported[1], copy)
    with next(copy.rglob("*.index")).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"sha|SHA|match"):
        Editor.from_export(copy)


def test_the_newest_version_is_taken(tmp_path):
    for version in ("2", "10"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "manifest.json").write_text("{}")
    assert newest_version(tmp_path).name == "10"
    with pytest.raises(ValueError, match="seghgan export"):
        newest_version(tmp_path / "nothing")
