"""Corrupted inputs of every kind: none stops a conversion, each is reported for what it is, and what is good stays as it was."""

import csv
import io
import struct
import zlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data_tools import layouts
from tests.data_tools.test_readers import records
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing

# Where an example fails, Hypothesis shows it whole, however long; a warning of that would hide the failure.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")

EXAMPLES = 8
"""Trees of each kind; each holds one input of every kind of corruption."""

MAX_PIXELS = 1 << 20
KEPT = "kept"


class Bad(NamedTuple):
    """One corrupted input: what may become of it, its picture, its mask, the cells of its row, and, where it is kept, its pixels."""

    outcomes: str
    image: bytes | None = None
    mask: bytes | None = None
    cells: dict = {}  # noqa: RUF012
    pixels: np.ndarray | None = None


def encoded(pixels, image_format, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


FACES, MASKS, _ = layouts.drawn(4)
JPEG, PNG = encoded(FACES[0], "JPEG", quality=90), encoded(FACES[0], "PNG")
MASK = encoded(MASKS[0], "PNG", compress_level=0)
SOF, SCAN = JPEG.index(b"\xff\xc0"), JPEG.index(b"\xff\xda")


def cut(data, low, high):
    return st.integers(low, high - 1).map(lambda length: data[:length])


def flipped(data, low, high):
    """One bit of the bytes from `low` to before `high` turned over."""

    def flip(bit):
        turned = bytearray(data)
        turned[bit // 8] ^= 1 << bit % 8
        return bytes(turned)

    return st.integers(8 * low, 8 * high - 1).map(flip)


def patched(data, place, layout, low, high):
    """Two numbers of a header, width and height in some order, made so large that no picture can have them."""
    sides = st.tuples(st.integers(low, high), st.integers(low, high))
    return sides.map(lambda two: data[:place] + struct.pack(layout, *two) + data[place + struct.calcsize(layout) :])


def with_right_sum(data):
    return data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]


def image(outcomes, strategy):
    return strategy.map(lambda data: Bad(outcomes, data))


def mask(outcomes, strategy):
    return strategy.map(lambda data: Bad(outcomes, JPEG, data))


def row(outcomes, **cells):
    return st.fixed_dictionaries({name: st.just(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}).map(
        lambda drawn: Bad(outcomes, JPEG, cells=drawn)
    )  # fmt: skip


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, (*shape,), np.uint8)


def kept(make):
    """A strange but whole picture: `make` gives its file and the pixels it stands for, from a seed."""
    return st.integers(0, 1 << 30).map(lambda seed: Bad(KEPT, make(seed)[0], pixels=make(seed)[1]))


def deep_grey(seed):
    pixels = np.random.default_rng(seed).integers(0, 1 << 16, (20, 24), np.uint16)
    return encoded(pixels, "PNG"), np.repeat((pixels // 257)[..., None], 3, -1)


def see_through(seed):
    pixels = noise(seed, 20, 24, 4)
    pixels[..., 3] = 255 * (pixels[..., 3] > 127)
    return encoded(pixels, "PNG"), np.where(pixels[..., 3:] > 0, pixels[..., :3], 255)


def inks(seed):
    colour = Image.new("RGB", (24, 20), tuple(noise(seed, 3)))
    return encoded(colour.convert("CMYK"), "JPEG", quality=100), np.asarray(colour)


TURNS = {
    2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1], 5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1), 7: lambda p: p[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90,
}  # fmt: skip


def turned(seed):
    orientation = 2 + seed % 7
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(seed, 20, 24, 3)
    return encoded(pixels, "PNG", exif=exif), TURNS[orientation](pixels)


def small(seed):
    sides = np.random.default_rng(seed).permutation((1 + seed % 15, 1 + seed % 97))
    return encoded(noise(seed, *sides, 3), "PNG")


def moving(seed):
    frames = [Image.fromarray(noise(seed + i, 20, 24, 3)) for i in range(2 + seed % 3)]
    return encoded(frames[0], ("PNG", "GIF", "WEBP")[seed % 3], save_all=True, append_images=frames[1:], duration=40)


def strange_colours(seed):
    return encoded(Image.new(("F", "LAB", "I")[seed % 3], (24, 20)), "TIFF")


def text_bomb(size):
    return PNG[:33] + chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(size))) + PNG[33:]


def pixel_bomb(side):
    rows = zlib.compress(bytes((1 + side // 8) * side), 1)
    body = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", body) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def wrong_ids(pair):
    number, place = pair
    ids = MASKS[0].copy()
    ids.flat[place] = number
    return encoded(ids, "PNG")


seeds = st.integers(0, 1 << 30)
words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1).filter(lambda text: text not in ("nan", "inf", "infinity"))
too_large = st.floats(5.001, 1e300).map(repr)
below = st.floats(-1e300, -1e-9).map(repr)
not_finite = st.sampled_from(["nan", "inf", "-inf", "NaN", "1e999", "-nan"])
emotions = ("neutral", "happy", "sad", "fear", "anger", "disgust", "surprise", "contempt")

IN_A_FOLDER = {
    "an empty file": image("empty_file", st.just(b"")),
    "no image": image("not_an_image", st.binary(min_size=1, max_size=300).map(b"%".__add__)),
    "a text": image("not_an_image", st.text(min_size=1).map(lambda text: f"<{text}>".encode("utf-8", "replace"))),
    "a JPEG cut before its size": image("not_an_image", cut(JPEG, 1, SOF)),
    "a JPEG cut in its header": image("not_an_image truncated_image", cut(JPEG, SOF, SCAN)),
    "a JPEG cut in its pixels": image("truncated_image", cut(JPEG, SCAN + 14, len(JPEG) - 40)),
    "a JPEG's first bytes": image("not_an_image", flipped(JPEG, 0, 3)),
    "a bit of a JPEG's header": image(
        f"{KEPT} not_an_image truncated_image too_many_pixels too_small unsupported_colors", flipped(JPEG, 3, SCAN)
    ),
    "a bit of a JPEG's pixels": image(f"{KEPT} truncated_image", flipped(JPEG, SCAN + 14, len(JPEG))),
    "a PNG cut in its header": image("not_an_image", cut(PNG, 1, 33)),
    "a PNG cut in its pixels": image("truncated_image", cut(PNG, 41, len(PNG))),
    "a bit of a PNG's header": image("not_an_image", flipped(PNG, 0, 33)),
    "a bit of a PNG's pixels": image("truncated_image", flipped(PNG, 41, len(PNG))),
    "a JPEG that claims to be huge": image("too_many_pixels", patched(JPEG, SOF + 5, ">HH", 1025, 65500)),
    "a PNG that claims to be huge": image(
        "too_many_pixels", patched(PNG, 16, ">II", 1025, 0x7FFFFFFF).map(with_right_sum)
    ),
    "a BMP that claims to be huge": image(
        "too_many_pixels", patched(encoded(FACES[0], "BMP"), 18, "<ii", 1025, 0x7FFFFFFF)
    ),
    "a GIF that claims to be huge": image("too_many_pixels", patched(encoded(FACES[0], "GIF"), 6, "<HH", 1025, 65535)),
    "a bomb of pixels": image("too_many_pixels", st.integers(1025, 6000).map(pixel_bomb)),
    "a bomb of text": image("not_an_image truncated_image", st.integers(2 << 20, 8 << 20).map(text_bomb)),
    "a tiny picture": image("too_small", seeds.map(small)),
    "a moving picture": image("animated_image", seeds.map(moving)),
    "colours of no photo": image("unsupported_colors", seeds.map(strange_colours)),
    "sixteen bits": kept(deep_grey),
    "transparent parts": kept(see_through),
    "printers' inks": kept(inks),
    "turned by EXIF": kept(turned),
    "a mask of another size": mask(
        "wrong_mask_size", seeds.map(lambda seed: encoded(MASKS[0][: 63 - seed % 50], "PNG"))
    ),
    "a mask of other ids": mask(
        "wrong_mask_ids", st.tuples(st.integers(19, 255), st.integers(0, MASKS[0].size - 1)).map(wrong_ids)
    ),
    "a mask in colours": mask("wrong_mask_ids", seeds.map(lambda seed: encoded(noise(seed, 64, 64, 3), "PNG"))),
    "a mask as JPEG": mask("wrong_mask_ids", st.just(encoded(MASKS[0], "JPEG"))),
    "a mask cut off": mask("broken_mask", cut(MASK, 0, len(MASK))),
    "a bit of a mask": mask("broken_mask", flipped(MASK, 0, len(MASK))),
    "a mask that is not there": row("missing_mask", mask=words.map("masks/no {}.png".format)),
    "an action unit above 5": row("action_unit_out_of_range", AU12_r=too_large),
    "an action unit below 0": row("action_unit_out_of_range", AU12_r=below),
    "an action unit that is no number": row("not_a_number", AU12_r=st.one_of(not_finite, words)),
    "an unknown label": row("unknown_label", label=st.one_of(words, st.integers(8).map(str)).filter(lambda w: w not in emotions)),
    "valence out of range": row("out_of_range", valence=st.floats(1.001, 1e9).map(repr)),
    "arousal that is no number": row("not_a_number", arousal=st.one_of(not_finite, words)),
    "an unknown split": row("broken_annotation", split=words.filter(lambda w: w not in ("train", "validation", "test"))),
    "an id that is there": row("duplicate_id", id="good0.jpg"),
    "a file that is not there": row("no_such_file", filename=words.map("no {}.jpg".format)),
    "a file outside the folder": row(
        "unknown_file_name", filename=words.flatmap(lambda w: st.sampled_from([f"../{w}.jpg", f"/{w}.jpg", f"a/../../{w}"]))
    ),
    "a decimal comma": row("broken_annotation", arousal="0", surplus=st.integers(1, 9).map(str)),
}  # fmt: skip

COLUMNS = ("filename", "id", "label", "mask", "split", "AU12_r", "valence", "arousal")
fuzzed = settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def write_folder(root, bad):
    """Write four good photos and one corrupted input of each kind, good ones before, between and behind; return the rows."""
    (root / "masks").mkdir(parents=True)
    rows = []
    for number in range(4):
        layouts.save_jpeg(root / f"good{number}.jpg", FACES[number])
        layouts.save_png(root / "masks" / f"good{number}.png", MASKS[number])
        cells = {"filename": f"good{number}.jpg", "label": "happy", "mask": f"masks/good{number}.png", "AU12_r": "2.5"}
        rows.append([cells.get(name, "") for name in COLUMNS])
    for number, (kind, each) in enumerate(bad.items()):
        (root / f"{kind}.jpg").write_bytes(each.image)
        cells = {"filename": f"{kind}.jpg", **each.cells}
        if each.mask is not None:
            cells["mask"] = f"masks/{kind}.png"
            (root / cells["mask"]).write_bytes(each.mask)
        line = [cells.get(name, "") for name in COLUMNS]
        rows.insert(len(rows) - number % 4, line + ([cells["surplus"]] if "surplus" in cells else []))
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])


def rejected(folder):
    with (folder / "rejected.csv").open(newline="") as stream:
        rows = [(row["file"], row["reason"]) for row in csv.DictReader(stream)]
    assert len(dict(rows)) == len(rows), "a file was reported twice"
    return dict(rows)


def check(kind, bad, reason, face):
    """Compare what became of an input with what its corruption foretells."""
    outcomes = bad.outcomes.split()
    assert (reason or KEPT) in outcomes, f"{kind}: {reason or KEPT}, but foretold was {bad.outcomes}"
    assert (reason is None) == (face is not None), f"{kind}: lost, or kept and reported"
    if face is None:
        return
    stored = tf.io.decode_image(face.image, channels=3).numpy()
    assert stored.shape == (face.height, face.width, 3), kind
    if bad.pixels is not None:
        assert np.abs(stored.astype(int) - bad.pixels).max() <= 12, f"{kind}: other pixels"


def check_good(source, found):
    for number in range(4):
        face = found[f"good{number}.jpg"][1]
        assert face.image == (source / f"good{number}.jpg").read_bytes()
        assert (face.label, face.aus) == (1, {"AU12": 2.5})
        np.testing.assert_array_equal(layouts.decoded(face.mask), MASKS[number])


def test_corrupted_photos_masks_and_rows_of_a_folder(tmp_path_factory):
    seen = Counter()

    @fuzzed
    @given(st.fixed_dictionaries(IN_A_FOLDER))
    def convert_one(bad):
        root = tmp_path_factory.mktemp("folder")
        write_folder(root / "in", bad)
        picturing = Picturing(max_pixels=MAX_PIXELS, jpeg_quality=0)
        description = convert(
            Conversion("folder", str(root / "in"), picturing, validation=0, test=0), root / "out", min_kept=0
        )
        found, reasons = records(root / "out"), rejected(root / "out")
        check_good(root / "in", found)
        for kind, each in bad.items():
            name = each.cells.get("filename", f"{kind}.jpg")
            check(kind, each, reasons.get(name), found.get(name, (None, None))[1])
            seen[kind] += 1
        assert len(found) + len(reasons) == 4 + len(bad)
        assert sum(each["count"] for each in description["rejected"]) == len(reasons)

    convert_one()
    assert min(seen.values()) >= EXAMPLES
    assert seen.total() >= 200
