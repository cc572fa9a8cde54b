"""Photos of every make become the right 8-bit pixels, or are refused with the right reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from seghgan_tf import frames
from seghgan_tf.photos import Rejected
from tests.data_tools import layouts
from tfrecords_tools.images import encode_ids, encode_image, open_picture, read_file
from tfrecords_tools.photo import Reason

LIMIT = 10_000
RED = np.full((20, 30, 3), (200, 40, 10), np.uint8)


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def pixels(data):
    return np.asarray(open_picture(data, LIMIT).image)


def refused(data, limit=LIMIT):
    with pytest.raises(Rejected) as caught:
        open_picture(data, limit)
    return caught.value.reason


def test_jpeg_and_png_of_eight_bits_can_be_stored_as_they_are():
    for image_format, mode in (("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "L")):
        data = encoded(Image.fromarray(RED).convert(mode), image_format)
        picture = open_picture(data, LIMIT)
        assert picture.storable
        assert picture.data == data
        assert (picture.image.mode, picture.image_format) == ("RGB", image_format.lower())


@pytest.mark.parametrize("image_format", ["WEBP", "BMP", "TIFF", "PPM"])
def test_other_formats_are_read_but_stored_anew(image_format):
    picture = open_picture(encoded(Image.fromarray(RED), image_format), LIMIT)
    assert not picture.storable
    assert np.abs(np.asarray(picture.image).astype(int) - RED).max() < 8


def test_transparent_parts_become_white():
    layer = np.dstack([RED, np.full(RED.shape[:2], 255, np.uint8)])
    layer[:10, :, 3] = 0
    result = pixels(encoded(Image.fromarray(layer)))
    assert (result[:10] == 255).all()
    np.testing.assert_array_equal(result[10:], RED[10:])


def test_a_palette_and_its_transparent_colour_are_resolved():
    image = Image.fromarray(RED).quantize(4)
    np.testing.assert_array_equal(pixels(encoded(image)), RED)
    assert (pixels(encoded(image, transparency=image.getpixel((0, 0)))) == 255).all()


def test_sixteen_bits_are_scaled_and_not_cut_off():
    ramp = np.linspace(0, 65535, 16 * 32).astype(np.uint16).reshape(16, 32)
    result = pixels(encoded(Image.fromarray(ramp)))
    np.testing.assert_allclose(result[..., 0], ramp / 257, atol=1)


def test_sixteen_bit_colour_is_never_stored_as_it_is():
    rows = b"".join(b"\0" + b"\xc8\x00\x28\x00\x0a\x00" * 16 for _ in range(16))

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    picture = open_picture(data, LIMIT)
    assert not picture.storable
    np.testing.assert_array_equal(np.asarray(picture.image)[0, 0], (200, 40, 10))


def test_inks_become_light():
    result = pixels(encoded(Image.fromarray(RED).convert("CMYK"), "JPEG", quality=100, subsampling=0))
    assert np.abs(result.astype(int) - RED).max() < 8


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied_to_the_pixels(orientation):
    sketch = np.zeros((20, 30, 3), np.uint8)
    sketch[:5, :10] = 255
    turned = {
        2: sketch[:, ::-1], 3: sketch[::-1, ::-1], 4: sketch[::-1], 5: sketch.transpose(1, 0, 2), 6: np.rot90(sketch, -1),
        7: sketch[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(sketch),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(encoded(Image.fromarray(sketch), exif=exif), LIMIT)
    np.testing.assert_array_equal(np.asarray(picture.image), turned[orientation])
    assert not picture.storable


def test_the_pixel_limit_is_checked_before_decoding():
    assert refused(encoded(Image.fromarray(RED)), limit=599) == Reason.TOO_LARGE
    header = encoded(Image.new("L", (16, 16)))
    bomb = header[:16] + struct.pack(">II", 60_000, 60_000) + header[24:]
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
    assert refused(bomb) == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello, I am a text", Reason.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", Reason.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", Reason.NOT_AN_IMAGE),
        (encoded(Image.new("RGB", (15, 40))), Reason.TOO_SMALL),
        (encoded(Image.new("F", (20, 20)), "TIFF"), Reason.COLORS),
        (encoded(Image.new("LAB", (20, 20)), "TIFF"), Reason.COLORS),
        (
            encoded(
                Image.new("L", (20, 20)), "GIF", save_all=True, append_images=[Image.new("L", (20, 20), 99)], duration=9
            ),
            Reason.ANIMATED,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_what_is_no_photo_is_refused_with_its_reason(data, reason):
    assert refused(data) == reason


def test_a_jpeg_cut_in_its_pixels_is_truncated():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert refused(encoded(Image.fromarray(noise), "JPEG")[:-1500]) == Reason.TRUNCATED


@pytest.mark.parametrize("bit", range(8 * 16))
def test_a_bit_turned_at_the_end_of_a_png_is_seen(bit):
    data = bytearray(encode_image(Image.new("RGB", (20, 20), (1, 2, 3)), 0)[0])
    data[-1 - bit // 8] ^= 1 << bit % 8  # the last chunk and the checksum before it
    with pytest.raises(Rejected) as refused:
        open_picture(bytes(data), 1 << 20)
    assert refused.value.reason == Reason.TRUNCATED


def test_files_that_are_empty_or_not_there_are_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    for path, reason in (
        (tmp_path / "empty.jpg", Reason.EMPTY),
        (tmp_path / "gone.jpg", Reason.UNREADABLE),
        (tmp_path, Reason.UNREADABLE),
    ):
        with pytest.raises(Rejected) as caught:
            read_file(str(path))
        assert caught.value.reason == reason


def test_quality_zero_writes_the_very_pixels():
    data, image_format = encode_image(Image.fromarray(RED), 0)
    assert image_format == "png"
    np.testing.assert_array_equal(pixels(data), RED)


def textured(width, height):
    """A drawn face with its edges, stretched to a size, with fine and coarse detail."""
    face = Image.fromarray(layouts.drawn(1, 128)[0][0]).resize((width, height), Image.Resampling.BICUBIC)
    waves = 20 * np.sin(np.arange(width) / 7) * np.cos(np.arange(height) / 5)[:, None]
    return np.clip(np.asarray(face) + waves[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(256, 256), (301, 257), (150, 391), (600, 517), (1100, 1023)])
def test_a_jpeg_decoded_small_is_the_same_picture_in_the_same_place(width, height):
    data = encoded(Image.fromarray(textured(width, height)), "JPEG", quality=95)
    whole, small = open_picture(data, 1 << 21), open_picture(data, 1 << 21, least=64)
    assert small.size == whole.size == whole.image.size
    assert small.image.width < whole.image.width
    assert not small.storable
    plain = np.asarray(frames.crop(whole.image, 64), float)
    quick = np.asarray(frames.crop(small.image, 64, small.size), float)
    error = np.sqrt(np.mean((quick - plain) ** 2))
    assert error < 4
    for step in (-1, 1):
        for axis in (0, 1):
            assert np.sqrt(np.mean((quick - np.roll(plain, step, axis)) ** 2)) > 2 * error


def test_a_jpeg_is_decoded_small_only_where_enough_is_left_and_other_files_or_turned_ones_never():
    pixels = textured(200, 130)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = open_picture(encoded(Image.fromarray(pixels), "JPEG", exif=exif), 1 << 20, 16)
    assert turned.image.size == turned.size == (130, 200)
    assert turned.turn == (6, 200, 130)
    for least, width in ((131, 200), (66, 200), (65, 100), (32, 50), (16, 25)):
        assert open_picture(encoded(Image.fromarray(pixels), "JPEG"), 1 << 20, least).image.width == width
    np.testing.assert_array_equal(open_picture(encoded(Image.fromarray(pixels)), 1 << 20, 16).image, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (37, 53), (128, 128)])
def test_class_ids_are_kept_by_their_own_png_as_by_the_plain_one(shape):
    ids = np.random.default_rng(0).integers(0, 19, shape).astype(np.uint8)
    np.testing.assert_array_equal(layouts.decoded(encode_ids(ids)), layouts.decoded(encoded(Image.fromarray(ids))))


def test_the_png_of_a_faces_mask_is_smaller_than_the_plain_one():
    masks = layouts.drawn(4, 128)[1]
    plain = [encoded(Image.fromarray(mask), compress_level=4) for mask in masks]
    assert sum(map(len, map(encode_ids, masks))) < sum(map(len, plain))
