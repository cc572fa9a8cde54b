"""An edited photo keeps its own colours, depth and data, and says inside the file that it was edited."""

import io
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pyexiv2
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence

from seghgan_tf.photos import MAX_PIXELS, Rejected, read
from seghgan_tf.saving import LOSSY, SIDES, SOURCE_TYPE, check_sides, encoded, kind_of, losses, moving
from tests.photo_files import GREY, ODD, SMOOTH, oriented, saved, wide_profile


def png_chunks(file):
    """Yield a PNG's chunks, as the standard has them."""
    place = 8
    while place < len(file):
        length, kind = struct.unpack_from(">I4s", file, place)
        yield kind, file[place + 8 : place + 8 + length]
        place += 12 + length


def xmp_of(file, kind):
    """Return the XMP packet of a file, read from its bytes without Pillow."""
    if kind == "PNG":
        texts = [body for name, body in png_chunks(file) if name == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0")]
        assert len(texts) == 1
        packed = texts[0][len(b"XML:com.adobe.xmp\0")]
        text = texts[0].split(b"\0", 5)[-1]
        return zlib.decompress(text) if packed else text
    if kind == "JPEG":
        place = 2
        while file[place + 1] != 0xDA:
            length = struct.unpack_from(">H", file, place + 2)[0]
            body = file[place + 4 : place + 2 + length]
            if file[place + 1] == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                return body.split(b"\0", 1)[1]
            place += 2 + length
        return None
    start = file.find(b"<x:xmpmeta")
    return file[start : file.find(b"</x:xmpmeta>") + 12] if start >= 0 else None


def source_types(packet):
    root = ET.fromstring(packet)
    return [node.text for node in root.iter("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("name", ODD)
def test_what_is_not_edited_keeps_its_very_values(name, kind):
    photo = read(ODD[name][0])
    again = read(encoded(photo, photo.pixels, kind))
    np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("name", ODD)
def test_what_is_edited_comes_back_as_edited(name):
    photo = read(ODD[name][0])
    pixels = photo.pixels.copy()
    clear = name.startswith("cut-out")
    grey = photo.own is not None and photo.own.mode in ("L", "1", "I;16", "I;16B")
    pixels[10:20, 30:40] = 100 if grey else (120, 90, 70)
    again = read(encoded(photo, pixels))
    away = np.abs(again.pixels.astype(int) - pixels)
    assert away[10:20, 30:40].max() <= (2 if photo.profile or grey else 0)
    away[10:20, 30:40] = 0
    assert away.max() == 0
    assert (again.own is not None and again.own.mode == "RGBA") == clear


def test_grey_depth_transparency_and_profile_stay():
    deep = np.asarray(Image.fromarray(GREY.astype(np.uint16) * 257 + 100))
    photo = read(ODD["16-bit grey png"][0])
    pixels = photo.pixels.copy()
    pixels[:5] += 10
    kept = np.asarray(Image.open(io.BytesIO(encoded(photo, pixels))))
    assert kept.dtype == np.uint16
    np.testing.assert_array_equal(kept[5:], deep[5:])
    np.testing.assert_array_equal(kept[:5], deep[:5] + 2570)
    assert Image.open(io.BytesIO(encoded(read(ODD["grey"][0]), read(ODD["grey"][0]).pixels))).mode == "L"
    cut = read(ODD["cut-out"][0])
    alpha = np.asarray(Image.open(io.BytesIO(encoded(cut, cut.pixels))))[..., 3]
    assert (alpha[:, :20] == 0).all()
    assert (alpha[:, 20:] == 255).all()
    swapped = read(ODD["other profile"][0])
    again = Image.open(io.BytesIO(encoded(swapped, swapped.pixels)))
    assert again.info["icc_profile"] == swapped.profile
    np.testing.assert_array_equal(np.asarray(again), SMOOTH)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_is_kept_without_its_turn_or_stripped(kind):
    photo = read(ODD["lying on its side"][0])
    again = Image.open(io.BytesIO(encoded(photo, photo.pixels, kind)))
    assert again.size == (48, 64)
    assert again.getexif()[0x010F] == "a camera"
    assert again.getexif().get(0x0112, 1) == 1
    bare = encoded(photo, photo.pixels, kind, told=False)
    assert 0x010F not in Image.open(io.BytesIO(bare)).getexif()


def seen_by_exiv2(file):
    with pyexiv2.ImageData(file) as picture:
        return picture.read_xmp().get("Xmp.iptcExt.DigitalSourceType")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_the_mark_is_in_the_file_unless_it_is_not_wanted(kind):
    photo = read(ODD["jpeg"][0])
    file = encoded(photo, photo.pixels, kind)
    assert source_types(xmp_of(file, kind)) == [SOURCE_TYPE]
    if kind == "PNG":
        assert any(name == b"tEXt" and SOURCE_TYPE.encode() in body for name, body in png_chunks(file))
    bare = encoded(photo, photo.pixels, kind, mark=False)
    assert SOURCE_TYPE.encode() not in bare
    assert [seen_by_exiv2(one) for one in (file, bare)] == [SOURCE_TYPE, None]


def test_the_mark_joins_what_the_photo_says_already():
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="mine"/></rdf:RDF></x:xmpmeta>'
    )
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", xmp=packet, exif=oriented(1)))
    told = xmp_of(encoded(photo, photo.pixels, "JPEG"), "JPEG")
    assert b'dc:source="mine"' in told
    assert source_types(told) == [SOURCE_TYPE]
    assert b"mine" not in encoded(photo, photo.pixels, "JPEG", told=False)


PACKET = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:4f" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'xmlns:iptc="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" dc:source="mine"{}>{}</rdf:Description></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
)
CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
CLAIMS = {
    "attribute": (f' iptc:DigitalSourceType="{CAPTURE}"', ""),
    "single quotes": (f"\n  iptc:DigitalSourceType = '{CAPTURE}'", ""),
    "element": ("", f"<iptc:DigitalSourceType>{CAPTURE}</iptc:DigitalSourceType>"),
    "resource": ("", f'<iptc:DigitalSourceType rdf:resource="{CAPTURE}"/>'),
    "none": ("", ""),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_photo_that_says_how_it_was_made_is_marked_once_and_stays_so(kind, claim):
    packet = PACKET.format(*CLAIMS[claim]).encode()
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", xmp=packet))
    for _ in range(3):
        file = encoded(photo, photo.pixels, kind)
        assert source_types(xmp_of(file, kind)) == [SOURCE_TYPE]
        with pyexiv2.ImageData(file) as picture:
            told = picture.read_xmp()
        assert told["Xmp.iptcExt.DigitalSourceType"] == SOURCE_TYPE
        assert told["Xmp.dc.source"] == "mine"
        assert CAPTURE.encode() not in file
        length, photo = len(photo.xmp), read(file)
    assert len(photo.xmp) == length


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("form", [(' tiff:Orientation="6"', ""), ("", "<tiff:Orientation>6</tiff:Orientation>")])
@pytest.mark.parametrize(("asked", "turned"), [(None, True), (1, False), (6, True), (8, True)])
def test_an_edited_photo_asks_nobody_to_turn_it_again(kind, form, asked, turned):
    """By EXIF, by XMP or by both; EXIF goes first, as with Pillow."""
    exif = {} if asked is None else {"exif": oriented(asked)}
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", quality=95, xmp=PACKET.format(*form).encode(), **exif))
    assert photo.pixels.shape == ((64, 48, 3) if turned else (48, 64, 3))
    file = encoded(photo, photo.pixels, kind)
    again = read(file)
    assert again.orientation == 1
    assert again.pixels.shape == photo.pixels.shape
    with pyexiv2.ImageData(file) as picture:
        assert "Xmp.tiff.Orientation" not in picture.read_xmp()
        assert picture.read_xmp()["Xmp.dc.source"] == "mine"
        if asked is not None and kind not in ("AVIF", "HEIF"):  # which take the turn out of EXIF
            assert picture.read_exif()["Exif.Image.Orientation"] == "1"


def test_a_small_picture_inside_xmp_goes():
    small = "<xmpGImg:image xmlns:xmpGImg='http://ns.adobe.com/xap/1.0/g/img/'>/9j/4AAQ</xmpGImg:image>"
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", xmp=PACKET.format("", small).encode()))
    file = encoded(photo, photo.pixels, "JPEG")
    assert b"4AAQ" not in file
    assert seen_by_exiv2(file) == SOURCE_TYPE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize(("time", "place"), [(True, True), (True, False), (False, True)])
def test_what_a_camera_tells_of_time_and_place_is_kept(kind, time, place):
    """Either alone too, beside no tag of the first folder."""
    exif = oriented(6) if time and place else Image.Exif()
    taken = {0x9003: "2026:01:02 03:04:05", 0x829A: 0.005, 0x927C: b"a maker's note"} if time else {}
    where = {1: "N", 2: (48.0, 12.0, 30.5)} if place else {}
    for folder, values in ((0x8769, taken), (0x8825, where)):
        if values:
            exif.get_ifd(folder).update(values)
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", exif=exif))
    file = encoded(photo, photo.pixels, kind)
    again = Image.open(io.BytesIO(file))
    np.testing.assert_array_equal(np.asarray(again), photo.pixels) if kind in ("PNG", "TIFF") else again.load()
    kept = again.getexif()
    assert dict(kept.get_ifd(0x8769)) == taken
    assert dict(kept.get_ifd(0x8825)) == where
    assert kept.get(0x010F) == ("a camera" if time and place else None)
    with pyexiv2.ImageData(file) as picture:
        assert picture.read_exif().get("Exif.Photo.DateTimeOriginal") == taken.get(0x9003)
        assert picture.read_exif().get("Exif.GPSInfo.GPSLatitudeRef") == where.get(1)
    assert seen_by_exiv2(file) == SOURCE_TYPE


def test_the_small_picture_inside_exif_goes():
    exif = oriented(1)
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", exif=exif))
    kept = Image.open(io.BytesIO(encoded(photo, photo.pixels, "JPEG"))).getexif()
    assert kept.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert not kept.get_ifd(1)


def test_an_unknown_ending_is_refused():
    assert kind_of("a.TIFF") == "TIFF"
    with pytest.raises(ValueError, match=r"must end in \.png, .*Received: a.xyz"):
        kind_of("a.xyz")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", *LOSSY])
@pytest.mark.parametrize("name", ODD)
def test_what_a_file_does_not_hold_is_said(name, kind):
    """Of each odd photo in each kind of file: depth, transparency, CMYK."""
    photo, lossy = read(ODD[name][0]), kind in LOSSY
    words = {
        "the edited file 8": name == "16-bit colour png" or (name.startswith("16-bit grey") and lossy),
        "no transparency": name.startswith("cut-out") and kind in ("JPEG", "GIF"),
        "CMYK": name == "cmyk",
        "lossy": False,
    }
    said = losses(photo, kind, limited=False)
    assert {word: sum(word in one for one in said) for word in words} == {word: int(so) for word, so in words.items()}
    assert losses(photo, kind, limited=True)[lossy:] == said


def test_lost_iptc_data_are_said():
    caption = b"\x1c\x02\x78\x00\x04mine"
    block = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + struct.pack(">I", len(caption)) + caption + b"\0"
    segment = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    photo = read(saved(Image.fromarray(SMOOTH), "JPEG", extra=segment))
    assert losses(photo, "PNG", limited=False) == ["the photo's IPTC data are not kept"]


def gif_applications(file):
    """Yield a GIF's application extensions by the blocks of GIF's own standard: name, and where its data begin and end."""
    place = 13 + (3 << (file[10] & 7) + 1 if file[10] & 0x80 else 0)
    while (sign := file[place]) != 0x3B:
        named = sign == 0x21 and file[place + 1] == 0xFF
        if sign == 0x2C:
            place += 11 + (3 << (file[place + 9] & 7) + 1 if file[place + 9] & 0x80 else 0)
        else:
            place += 2
        name = file[place + 1 : place + 12]
        start = place = place + 12 if named else place
        while file[place]:
            place += 1 + file[place]
        place += 1
        if named:
            yield name, start, place


@pytest.mark.parametrize("count", [1, 3])
def test_a_gif_says_by_an_application_extension_that_it_was_edited(count):
    frames = [Image.fromarray(SMOOTH[:, ::-1] if i % 2 else SMOOTH) for i in range(count)]
    file, bare = moving(frames, "GIF"), moving(frames, "GIF", mark=False)
    blocks = {name: file[start:end] for name, start, end in gif_applications(file)}
    packet = blocks[b"XMP DataXMP"]
    assert packet.endswith(b"\x01" + bytes(range(255, -1, -1)) + b"\0")
    assert source_types(packet[:-258]) == [SOURCE_TYPE]
    assert SOURCE_TYPE.encode() not in bare
    assert list(blocks) == [b"XMP DataXMP", *(name for name, _, _ in gif_applications(bare))]
    image = Image.open(io.BytesIO(file))
    assert image.n_frames == count
    for decode in (lambda one: tf.io.decode_gif(one).numpy(), frames_of):
        np.testing.assert_array_equal(decode(file), decode(bare))


def frames_of(file):
    return np.stack(
        [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(file)))]
    )


def test_data_too_long_for_a_jpeg_go_with_a_word():
    long = PACKET.format("", f"<dc:format>{'x' * 65_600}</dc:format>").encode()
    photo = read(saved(Image.fromarray(SMOOTH), "WEBP", xmp=long, exif=oriented(1)))
    said = ["the photo's XMP data are too long for JPEG: they are not kept"]
    assert losses(photo, "JPEG", limited=False) == said
    file = encoded(photo, photo.pixels, "JPEG")
    assert seen_by_exiv2(file) == SOURCE_TYPE
    assert b"mine" not in file
    assert Image.open(io.BytesIO(file)).getexif()[0x010F] == "a camera"
    for kind in ("PNG", "WEBP", "TIFF", "AVIF"):
        assert b"mine" in encoded(photo, photo.pixels, kind)
        assert losses(photo, kind, limited=False) == []


@pytest.mark.parametrize(("tag", "kept"), [(0x927C, True), (0x9286, False)])
def test_exif_too_long_for_a_jpeg_loses_its_makers_note_first(tag, kept):
    exif = oriented(1)
    exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", tag: b"n" * 66_000})
    photo = read(saved(Image.fromarray(SMOOTH), exif=exif))
    found = Image.open(io.BytesIO(encoded(photo, photo.pixels, "JPEG"))).getexif()
    assert found.get_ifd(0x8769) == ({0x9003: "2026:01:02 03:04:05"} if kept else {})
    assert found.get(0x010F) == ("a camera" if kept else None)
    start = "the camera maker's note in the photo's EXIF data is" if kept else "the photo's EXIF data are"
    assert losses(photo, "JPEG", limited=False) == [f"{start} too long for JPEG: not kept"]
    for kind in ("PNG", "WEBP", "TIFF", "AVIF"):
        assert len(read(encoded(photo, photo.pixels, kind)).exif) > 66_000
        assert losses(photo, kind, limited=False) == []


@pytest.mark.parametrize("kind", ["PNG", "TIFF", *SIDES])
def test_a_photo_longer_than_a_file_can_be_is_refused_and_the_longest_is_written(kind):
    longest = SIDES.get(kind, 70_000)
    photo = read(saved(Image.new("L", (longest, 64), 90)))
    file = moving([photo.rgb], kind) if kind == "GIF" else encoded(photo, photo.pixels, kind)
    assert read(file).size == (longest, 64)
    if kind in SIDES:
        with pytest.raises(ValueError, match=f"because {kind} holds at most {SIDES[kind]} px a side"):
            check_sides((100, SIDES[kind] + 1), kind)


def grey_profile(gamma):
    """Return an ICC profile of grey whose curve is a power."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 0xF6D6, 0x10000, 0xD32D)
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
    header = struct.pack(">I4sI4s4s4s", 192, bytes(4), 0x2100000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    return (header + bytes(28) + struct.pack(">iii", 0xF6D6, 0x10000, 0xD32D)).ljust(128, b"\0") + table + white + curve


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_with_a_profile_looks_the_same_in_every_kind_of_file(kind, mode):
    values = Image.fromarray(GREY.astype(np.uint16) * 257 if mode == "I;16" else GREY)
    if mode == "LA":
        values.putalpha(Image.fromarray(np.where(GREY > 90, 255, 128).astype(np.uint8)))
    photo = read(saved(values, icc_profile=grey_profile(1.0)))
    if mode == "L":
        assert photo.pixels.mean() > GREY.mean() + 40  # or the profile would be none
    again = read(encoded(photo, photo.pixels, kind))
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() <= (0 if kind in ("PNG", "TIFF") else 12)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_cut_out_with_a_profile_looks_the_same_in_every_kind_of_file(kind):
    cut = Image.fromarray(SMOOTH)
    cut.putalpha(Image.fromarray(np.where(GREY > 90, 255, 0).astype(np.uint8)))
    photo = read(saved(cut, icc_profile=wide_profile()))
    again = read(encoded(photo, photo.pixels, kind))
    away = np.abs(again.pixels.astype(int) - photo.pixels)[GREY > 90]
    assert np.percentile(away, 95) <= (0 if kind in ("PNG", "TIFF") else 12)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("I;16", "PNG"), *((mode, kind) for mode in ("1", "L", "P", "RGB") for kind in ("PNG", "TIFF", "WEBP"))],
)
def test_one_clear_colour_stays_clear(mode, kind):
    """As PNG's tRNS has it, of each mode in which it may stand."""
    deep = np.where(GREY > 80, 200 * 257, 0).astype(np.uint16)
    image = {
        "1": Image.fromarray(GREY > 80),
        "I;16": Image.fromarray(deep),
        "L": Image.fromarray(np.where(GREY > 80, 200, 0).astype(np.uint8)),
    }.get(mode, Image.fromarray(np.where((GREY > 80)[..., None], SMOOTH, 0).astype(np.uint8)))
    image = image.quantize(16) if mode == "P" else image
    clear = (0, 0, 0) if mode == "RGB" else image.getpixel((0, 0))
    photo = read(saved(image, transparency=clear))
    assert (photo.pixels[GREY <= 80] == 255).all()
    pixels = photo.pixels.copy()
    pixels[40:44, 50:60] = 90
    with Image.open(io.BytesIO(encoded(photo, pixels, kind))) as file:
        alpha = np.asarray(file)  # of 16 bits Pillow makes no opacity
        alpha = (
            np.where(alpha == file.info["transparency"], 0, 255)
            if mode == "I;16"
            else np.asarray(file.convert("RGBA"))[..., 3]
        )
    np.testing.assert_array_equal(alpha, np.where(GREY > 80, 255, 0))
    if kind != "WEBP":
        np.testing.assert_array_equal(read(encoded(photo, pixels, kind)).pixels, pixels)


DEEP = ["grey", "16-bit grey png", "palette", "cut-out", "cmyk", "other profile", "black and white"]


@pytest.mark.parametrize("name", DEEP)
def test_a_large_photo_is_read_and_edited_as_each_of_its_tiles(name):
    """A large one is worked on in bands of rows."""
    small = read(ODD[name][0])
    height, width = small.pixels.shape[:2]
    tiled = Image.new(small.own.mode, (20 * width, 20 * height))
    if small.own.mode == "P":
        tiled.putpalette(small.own.getpalette())
    for place in range(400):
        tiled.paste(small.own, (place % 20 * width, place // 20 * height))
    options = {"icc_profile": small.profile} if small.profile else {}
    large = read(saved(tiled, "TIFF", **options))
    np.testing.assert_array_equal(large.pixels, np.tile(small.pixels, (20, 20, 1)))
    pixels = small.pixels.copy()
    pixels[10:20, 30:40] = 100
    again = read(encoded(large, np.tile(pixels, (20, 20, 1)), "TIFF")).pixels
    np.testing.assert_array_equal(again, np.tile(read(encoded(small, pixels, "TIFF")).pixels, (20, 20, 1)))


def test_sixteen_bits_of_either_order_stay():
    deep = (GREY.astype(np.uint16) * 257 + 100).astype(">u2")
    photo = read(saved(Image.fromarray(deep), "TIFF"))
    assert photo.own.mode.startswith("I;16")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded(photo, photo.pixels)))), deep)


def test_what_an_encoder_cannot_do_is_said_in_words():
    photo = read(saved(Image.new("RGB", (20_000, 16))))
    with pytest.raises(ValueError, match=r"`out` must be a \.png because this photo cannot be written as HEIF"):
        encoded(photo, photo.pixels, "HEIF")


def test_a_photo_too_large_is_refused_with_what_to_do():
    """By its header alone; what is called 50 megapixels, 8192 x 6144, is not too large."""
    header = bytearray(saved(Image.new("1", (16, 16))))
    for size, said in (
        ((8192, 8193), "Received: 8192 x 8193, which is over 67108864 pixels: scale it to at most 67 megapixels"),
        ((60_000, 60_000), "over 67108864 pixels: scale it to at most 67 megapixels"),
    ):
        header[16:24] = struct.pack(">II", *size)
        header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
        with pytest.raises(Rejected, match=said):
            read(bytes(header))
    assert 8192 * 6144 < MAX_PIXELS == 8192 * 8192
