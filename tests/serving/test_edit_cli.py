"""`seghgan edit` and `seghgan analyze`: one photo, folders, pipes, sheets and sequences, and what is refused in words."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from fake_export import write_export
from PIL import Image
from typer.testing import CliRunner, Result

from seghgan_tf.cli import app
from seghgan_tf.expressions import expression_space
from seghgan_tf.photos import read
from seghgan_tf.saving import SOURCE_TYPE, loses_depth
from tests.photo_files import ODD, SMOOTH

UNITS = ("--au", "AU06=5", "--au", "AU12=5", "--au", "AU25=5")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(ODD["png"][0])
    return path


@pytest.fixture
def run(export_v1: Path, exports_opened_once: None) -> Any:
    def run(*arguments: Any, command: str = "edit", given: bytes | None = None) -> Result:
        words = [command, *map(str, arguments), "--export", str(export_v1)]
        return CliRunner().invoke(app, words, input=given)

    return run


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def brighter(by: int) -> np.ndarray:
    return np.clip(SMOOTH.astype(int) + by, 0, 255)


def test_a_photo_becomes_a_file_of_the_kind_that_its_name_says(run: Any, photo: Path, tmp_path: Path) -> None:
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.webp", "WEBP"), ("d.tif", "TIFF")):
        done = run(photo, "--out", tmp_path / "new" / name, *UNITS)
        assert done.exit_code == 0, done.output
        image = opened(tmp_path / "new" / name)
        assert image.format == kind
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - brighter(64)).max() < 12
        assert SOURCE_TYPE.encode() in (tmp_path / "new" / name).read_bytes()
    assert run(photo, "--out", tmp_path / "e.png", *UNITS, "--no-mark").exit_code == 0
    assert SOURCE_TYPE.encode() not in (tmp_path / "e.png").read_bytes()


def test_strength_goes_part_of_the_way_from_what_is_seen(run: Any, photo: Path, tmp_path: Path) -> None:
    seen = SMOOTH.reshape(-1, 3).mean(0) / 255
    run(photo, "--out", tmp_path / "half.png", *UNITS, "--strength", "0.5")
    asked = seen + 0.5 * (1 - seen)
    half = read((tmp_path / "half.png").read_bytes()).pixels
    np.testing.assert_allclose(half, brighter(0) + 63.75 * asked.mean(), atol=0.6)


@pytest.mark.parametrize("words", [[*UNITS, "--strength", "0"], ["--delta", "AU12=0"]])
def test_where_nothing_is_asked_the_photo_comes_back_unmarked(run: Any, tmp_path: Path, words: list[str]) -> None:
    photo = tmp_path / "turned.jpg"
    photo.write_bytes(ODD["lying on its side"][0])
    for name in ("same.jpg", "other.png", "bare.jpg"):
        assert run(photo, "--out", tmp_path / name, *words, *["--no-exif"] * (name == "bare.jpg")).exit_code == 0
        assert SOURCE_TYPE.encode() not in (tmp_path / name).read_bytes()
    assert (tmp_path / "same.jpg").read_bytes() == photo.read_bytes()
    np.testing.assert_array_equal(read((tmp_path / "other.png").read_bytes()).pixels, read(photo.read_bytes()).pixels)
    assert 0x010F not in opened(tmp_path / "bare.jpg").getexif()


def test_a_folder_becomes_a_folder_and_a_table_of_faces(run: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("lying on its side", "cut-out", "bmp"):
        (folder / {"bmp": "c.bmp", "cut-out": "b.png"}.get(name, "a.jpg")).write_bytes(ODD[name][0])
    (folder / "text.jpg").write_text("no photo")
    done = run(folder, "--out", out, *UNITS)
    assert done.exit_code == 1
    assert "3 of 4 photos" in done.output
    rows = list(csv.DictReader((out / "edits.csv").read_text().splitlines()))
    assert [row["edited"] for row in rows] == ["a.jpg", "b.png", "c.png", ""]
    assert [row["face"] for row in rows] == ["1", "1", "1", ""]
    assert "must be a picture" in rows[3]["note"]
    assert opened(out / "a.jpg").size == (48, 64)
    assert opened(out / "b.png").mode == "RGBA"


def test_pipes(run: Any) -> None:
    done = run("-", "--out", "-", *UNITS, given=ODD["png"][0])
    assert done.exit_code == 0
    np.testing.assert_array_equal(read(done.stdout_bytes).pixels, brighter(64))
    done = run("-", "--out", "-", *UNITS, given=ODD["jpeg"][0])
    assert done.stdout_bytes.startswith(b"\xff\xd8\xff")


def test_another_photo_gives_its_expression(run: Any, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (40, 40), (255, 255, 255)).save(other)
    assert run(photo, "--out", tmp_path / "a.png", "--from", other).exit_code == 0
    np.testing.assert_array_equal(read((tmp_path / "a.png").read_bytes()).pixels, brighter(64))
    other.write_text("no photo")
    told = str(run(photo, "--out", tmp_path / "b.png", "--from", other).exception)
    assert f"--from {other}" in told
    assert "must be a picture" in told


def test_a_change_is_on_top_of_what_is_seen(run: Any, photo: Path, tmp_path: Path) -> None:
    assert run(photo, "--out", tmp_path / "a.png", "--delta", "AU12=+2", "--delta", "AU25=-5").exit_code == 0
    seen = SMOOTH.reshape(-1, 3).mean(0) / 255
    asked = seen[0] + (seen[1] + 0.4) + 0.0
    np.testing.assert_array_equal(read((tmp_path / "a.png").read_bytes()).pixels, brighter(round(63.75 * asked / 3)))


def test_what_the_photo_tells_is_kept_or_left_out(run: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(ODD["lying on its side"][0])
    for name, words in (("kept.jpg", ()), ("bare.jpg", ("--no-exif",))):
        assert run(photo, "--out", tmp_path / name, *UNITS, *words).exit_code == 0
    assert opened(tmp_path / "kept.jpg").getexif()[0x010F] == "a camera"
    assert 0x010F not in opened(tmp_path / "bare.jpg").getexif()


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_sequence_moves_there_and_back(run: Any, photo: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"a.{ending}"
    assert run(photo, "--out", out, *UNITS, "--sequence", "4").exit_code == 0
    image = opened(out)
    assert image.n_frames == 6
    means = []
    for i in range(6):
        image.seek(i)
        means.append(np.asarray(image.convert("RGB")).mean())
    assert means[0] == pytest.approx(SMOOTH.mean(), abs=1), "the first frame is the photo"
    assert means[0] < means[1] < means[2] < means[3]
    assert means[4] == pytest.approx(means[2], abs=1)
    assert SOURCE_TYPE.encode() in out.read_bytes()


def test_a_sheet_needs_a_model_that_can_show_emotions(run: Any, photo: Path, tmp_path: Path) -> None:
    done = run(photo, "--out", tmp_path / "a.png", "--sheet")
    assert done.exit_code == 0, done.output
    sheet = opened(tmp_path / "a.png")
    assert sheet.width == 3 * (64 + 8) + 8


def test_a_region_in_a_lossy_file_is_warned_about(run: Any, photo: Path, tmp_path: Path) -> None:
    assert "lossy" in run(photo, "--out", tmp_path / "a.jpg", *UNITS, "--region", "mouth").stderr
    assert "lossy" not in run(photo, "--out", tmp_path / "a.png", *UNITS, "--region", "mouth").stderr
    assert "lossy" not in run(photo, "--out", tmp_path / "a.jpg", *UNITS).stderr
    photo.write_bytes(ODD["jpeg"][0])
    assert "lossy" in run(photo, "--out", "-", *UNITS, "--region", "mouth").stderr
    photo.write_bytes(ODD["cut-out"][0])
    assert "transparency" in run(photo, "--out", tmp_path / "a.jpg", *UNITS).stderr


@pytest.mark.parametrize(
    ("depth", "channels", "told"), [(np.uint16, 3, True), (np.uint16, 1, False), (np.uint8, 3, False)]
)
def test_that_colours_lose_depth_is_said(run: Any, tmp_path: Path, depth: Any, channels: int, told: bool) -> None:
    deep = tmp_path / "deep.png"
    pixels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (48, 64, channels), depth)
    deep.write_bytes(tf.io.encode_png(pixels).numpy())
    assert ("16 bits a channel" in run(deep, "--out", tmp_path / "a.png", *UNITS).stderr) == told
    run(deep, deep, "--out", tmp_path / "many", *UNITS)
    assert ("16 bits a channel" in (tmp_path / "many" / "edits.csv").read_text()) == told


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_no_photo_that_keeps_its_depth_is_said_to_lose_it(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (32, 32)).save(file, "TIFF")
    assert not loses_depth(read(file.getvalue()))


def test_a_deep_tiff_in_colour_loses_depth() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((32, 32, 3), 40_000, np.uint16), photometric="rgb")
    assert loses_depth(read(file.getvalue()))


def test_analyze_shows_each_face(run: Any, photo: Path) -> None:
    done = run(photo, command="analyze")
    assert done.exit_code == 0
    assert "face 1: 64 x 48 px at 0, 0" in done.stdout
    assert "AU12" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "a.xyz", *UNITS], "must end in .png"),
        (["--out", "a.png", "--au", "smile"], "must look like AU12=3"),
        (["--out", "a.png", "--au", "AU28=3"], "must name labels"),
        (["--out", "a.png", *UNITS, "--frame", "centre", "--face", "2"], "--face or --frame"),
        (["--out", "a.png", *UNITS, "--sheet"], "--sheet shows every emotion"),
        (["--out", "a.gif", *UNITS, "--sequence", "1"], "at least 2 steps"),
        (["--out", "a.png", "--from", "."], "is a directory"),
        (["--out", "a.png", *UNITS, "--face", "first"], "--face must be largest"),
        (["--out", "a.png", *UNITS, "--face", "3"], "must be 1 to 1"),
        (["--out", "a.png", *UNITS, "--frame", "left"], "--frame must be centre"),
        (["--out", "a.png", *UNITS, "--emotion", "happy"], "give --au"),
        (["--out", "a.png", *UNITS, "--sequence", "3"], "writes .gif or .webp"),
        (["--out", "a.png", *UNITS, "--region", "chin"], "must be among"),
    ],
)
def test_wrong_words_are_refused(run: Any, photo: Path, tmp_path: Path, words: list[str], told: str) -> None:
    out = tmp_path / words[1]
    done = run(photo, "--out", out, *words[2:])
    assert done.exit_code == (1 if words[-2:] == ["--face", "3"] else 2)
    assert told in " ".join(f"{done.output} {done.exception}".replace("│", " ").split())
    assert not out.exists()


def test_a_photo_longer_than_a_webp_can_be_is_refused_and_its_sequence_is_scaled(run: Any, tmp_path: Path) -> None:
    Image.new("RGB", (16_400, 64), (90, 90, 90)).save(tmp_path / "long.png")
    done = run(tmp_path / "long.png", "--out", tmp_path / "a.webp", *UNITS, "--frame", "centre")
    assert done.exit_code == 1
    assert "because WEBP holds at most 16383 px a side" in f"{done.output} {done.exception}"
    assert not (tmp_path / "a.webp").exists()
    done = run(tmp_path / "long.png", "--out", tmp_path / "b.webp", *UNITS, "--frame", "centre", "--sequence", "2")
    assert done.exit_code == 0, done.output


def test_many_photos_need_a_folder(run: Any, photo: Path, tmp_path: Path) -> None:
    done = run(photo, photo, "--out", tmp_path / "a.png", *UNITS)
    assert done.exit_code == 2
    assert "folder for several" in " ".join(done.output.replace("│", " ").split())


def test_the_packaged_model_edits_where_no_other_is_named_as_its_export_does(packaged: Path, tmp_path: Path) -> None:
    import skimage.data

    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "astronaut.png")
    for name, words in (("preset", ("--preset", "drawn-64")), ("export", ("--export", str(packaged)))):
        ask = ["edit", str(tmp_path / "astronaut.png"), "--out", str(tmp_path / f"{name}.png"), "--au", "AU26=4"]
        done = CliRunner().invoke(app, [*ask, *words])
        assert done.exit_code == 0, done.output
    photo, preset, export = (
        np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("astronaut", "preset", "export")
    )
    assert np.abs(preset - export).max() <= 1
    assert (preset != photo).any()


def test_one_model_is_named_at_most(photo: Path, tmp_path: Path) -> None:
    words = ["edit", str(photo), "--out", str(tmp_path / "a.png"), *UNITS]
    two = CliRunner().invoke(app, [*words, "--preset", "drawn-64", "--server", "localhost:1"])
    assert two.exit_code == 2
    assert "one of --preset" in " ".join(two.output.split())
    unknown = CliRunner().invoke(app, [*words, "--preset", "nobody"])
    assert unknown.exit_code != 0
    assert "drawn-64" in str(unknown.exception)


def test_a_model_of_valence_and_arousal_is_edited_over_any_transport(
    photo: Path, tmp_path: Path, run_server: Any
) -> None:
    export = write_export(tmp_path / "va", space=expression_space("va"))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["edit", str(photo), "--out", str(tmp_path / "out.png"), *words])

    def pixels() -> np.ndarray:
        return read((tmp_path / "out.png").read_bytes()).pixels

    with run_server(model_dir=export.parent) as (_, address):
        for where in (("--export", str(export)), ("--server", address)):
            done = run("--au", "valence=1", "--au", "Arousal=-0.5", *where)
            assert done.exit_code == 0, done.output
            assert np.abs(pixels().astype(int) - brighter(16)).max() <= 1
            seen = SMOOTH.reshape(-1, 3).mean(0)[:2] / 255
            assert run("--delta", "arousal=-0.4", *where).exit_code == 0
            assert np.abs(pixels() - (brighter(0) + 63.75 * (seen - [0, 0.4]).mean())).max() <= 1.5
            for words, told in (
                (("--au", "AU12=3"), "--au: `expression` must name labels of this model, which are valence, arousal"),
                (("--au", "valence=2"), "--au: `valence` must be between -1 and 1"),
                (("--emotion", "happy"), "--emotion: `emotion` must be one that the model's labels"),
            ):
                refused = run(*words, *where)
                assert refused.exit_code == 2
                assert told in " ".join(refused.stderr.replace("│", " ").split())
