"""What is exported equals the model, serves without our code, and edits photos of any size."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import data

from seghgan_tf.editing import Editor, NoFace, newest_version
from seghgan_tf.export import export
from seghgan_tf.model import SegHGAN
from seghgan_tf.photos import read
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
        done.stdout.strip()
        == "['analyze', 'edit_bytes', 'labels', 'locate', 'segment', 'serving_default', 'serving_uint8'] []"
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
        export(model, folder, 1)


@pytest.mark.parametrize(("width", "height", "kind"), [(90, 120, "PNG"), (200, 64, "JPEG"), (SIZE, SIZE, "PNG")])
def test_a_photo_comes_back_at_its_own_size_changed_in_its_square_alone(editor, width, height, kind):
    encoded, _ = photo(width, height, kind)
    before = read(encoded).pixels.astype(int)
    after = read(editor.edit(encoded, {"AU12": 3.0}, face="centre")).pixels.astype(int)
    assert after.shape == before.shape
    changed = np.argwhere(np.abs(after - before).max(-1) > 0)
    side, top, left = min(width, height), (height - min(width, height)) // 2, (width - min(width, height)) // 2
    assert len(changed)
    assert (changed >= [top, left]).all()
    assert (changed < [top + side, left + side]).all()


def requests(editor, *photos, **changed):
    """Return the inputs of `edit_bytes` for photos, the whole face to full strength."""
    count = len(photos)
    regions = np.tile(np.eye(4, dtype=np.float32)[:1], (count, 1))
    inputs = {
        "image_bytes": np.array(photos, object), "expression": np.full((count, 17), 0.9, np.float32), "regions": regions,
        "jpeg_quality": np.zeros(count, np.int32), "frames": np.zeros((count, 2, 3), np.float32),
    }  # fmt: skip
    return inputs | changed


def edited(editor, *photos, **changed):
    answers = editor.run("edit_bytes", requests(editor, *photos, **changed))["edited_bytes"]
    return [read(bytes(answer)).pixels for answer in answers]


SQUARE = np.float32([[[1, 0, 0], [0, 1, 0]]])


def test_a_photo_of_the_models_size_gets_the_models_edit_itself_but_for_its_border(editor):
    encoded, pixels = photo(SIZE, SIZE)
    inputs = {name: requests(editor, encoded)[name] for name in ("expression", "regions")}
    served = editor.run("serving_uint8", {"image": pixels[None], **inputs})["edited"][0]
    (ours,) = edited(editor, encoded, frames=SQUARE)
    inner = slice(2, -2)
    assert (served != pixels).any()
    assert np.abs(ours.astype(int) - served)[inner, inner].max() <= 1


def astronaut(scale=1.0):
    image = Image.fromarray(data.astronaut())
    buffer = io.BytesIO()
    image.resize([round(side * scale) for side in image.size]).save(buffer, "PNG")
    return buffer.getvalue()


def test_faces_are_found_and_edited_where_they_are(editor):
    small, large = astronaut(), astronaut(1.5)
    answer = editor.run("locate", {"image_bytes": np.array([small, large, photo(60, 60)[0]], object)})
    assert (answer["scores"][:2, 0] > 0.9).all()
    assert (answer["scores"][2] == 0).all()
    assert (answer["frames"][2] == 0).all()
    np.testing.assert_allclose(answer["boxes"][1, 0] / 1.5, answer["boxes"][0, 0], atol=5)
    np.testing.assert_allclose(answer["expressions"][1, 0], answer["expressions"][0, 0], atol=0.05)
    by_itself = edited(editor, small, large)
    given = edited(editor, small, large, frames=answer["frames"][:2, 0])
    for found, told, before in zip(by_itself, given, (small, large), strict=True):
        np.testing.assert_array_equal(found, told)
        changed = np.argwhere((found != read(before).pixels).any(-1)) / len(found)
        assert len(changed) > 100
        assert (changed.min(0) > [0.0, 0.25]).all()
        assert (changed.max(0) < [0.45, 0.65]).all()


def test_the_editor_does_what_the_server_does_with_the_whole_photo(editor):
    encoded = astronaut()
    seen = editor.chosen(read(encoded))[0].seen
    wanted = np.array([list((seen | {"AU12": 5.0}).values())], np.float32) / 5
    (whole,) = edited(editor, encoded, expression=wanted)
    cut = read(editor.edit(encoded, {"AU12": 5.0})).pixels
    assert np.abs(cut.astype(int) - whole).max() <= 2
    assert ((cut != read(encoded).pixels) == (whole != read(encoded).pixels)).mean() > 0.99


def test_a_photo_without_a_face_is_refused_in_words(editor):
    with pytest.raises(NoFace, match="--frame centre"):
        editor.edit(photo(80, 60)[0], {"AU12": 3.0})
    with pytest.raises(NoFace, match="1 to 1"):
        editor.edit(astronaut(), {"AU12": 3.0}, face="2")
    with pytest.raises(ValueError, match="must show a face"):
        edited(editor, photo(80, 60)[0])


def test_no_region_leaves_the_photo_bit_equal(editor):
    encoded, pixels = photo(70, 50)
    (answer,) = edited(editor, encoded, regions=np.zeros((1, 4), np.float32), frames=SQUARE)
    assert np.array_equal(answer, pixels)
    assert np.array_equal(read(editor.edit(encoded, {"AU12": 5.0}, regions=[], face="centre")).pixels, pixels)


def test_jpeg_comes_out_where_a_quality_is_asked(editor):
    answer = editor.run("edit_bytes", requests(editor, photo(64, 64)[0], jpeg_quality=np.int32([90]), frames=SQUARE))
    assert answer["edited_bytes"][0][:3] == b"\xff\xd8\xff"


def test_a_relative_edit_by_nothing_returns_the_very_bytes(editor):
    encoded, _ = photo(40, 40, "JPEG")
    assert editor.edit(encoded, {"AU12": 0.0}, relative=True) == encoded


@pytest.mark.parametrize(
    ("expression", "regions", "words"),
    [({"AU12": 9.0}, None, "between 0 and 5"), ({"AU99": 1.0}, None, "AU99"), ({"AU12": 1.0}, ["chin"], "chin")],
)
def test_a_wrong_edit_is_refused(editor, expression, regions, words):
    with pytest.raises(ValueError, match=words):
        editor.edit(photo(40, 40)[0], expression, regions=regions, face="centre")


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
    with pytest.raises(ValueError, match="`image_bytes` must be"):  # and not what a decoder says
        edited(editor, encoded, frames=SQUARE)


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
