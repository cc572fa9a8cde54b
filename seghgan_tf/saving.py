"""An edited photo into a file: in the photo's own colours and depth, with what it carried and the mark of an edited picture."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from seghgan_tf.colors import CMS_ERRORS, Pixels, is_clear, is_deep, own_colors, to_srgb
from seghgan_tf.photos import Photo, init_formats, open_header
from seghgan_tf.xmp import SOURCE_TYPE, marked

KINDS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
    ".avif": "AVIF", ".heic": "HEIF",
}  # fmt: skip
"""What is written, by a file's ending; the last two where Pillow can."""

LOSSY = ("JPEG", "WEBP", "AVIF", "HEIF", "GIF")
"""Kinds of file in which every pixel may change a little, those outside an edit too; none holds 16 bits a channel."""

SIDES = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768, "HEIF": 32_768, "GIF": 65_535}
"""The most pixels a side of a kind of file; the others hold any photo that is read."""

_SEGMENT = 65_533
"""The most bytes in a segment of a JPEG."""

_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_GIF_XMP = b"\x21\xff\x0bXMP DataXMP"


def kind_of(path: Path | str) -> str:
    """Return what a file of this name is, as "PNG". Raises ValueError for an ending that is not written here.

    >>> kind_of("me.jpeg")
    'JPEG'
    """
    init_formats()
    known = {ending: kind for ending, kind in KINDS.items() if kind in Image.SAVE}
    kind = known.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"`out` must end in {', '.join(known)}. Received: {path}")
    return kind


def check_sides(size: tuple[int, int], kind: str) -> None:
    """Raise ValueError where a picture of this width and height is too large for a kind of file.

    >>> check_sides((16_384, 100), "WEBP")
    Traceback (most recent call last):
    ValueError: `out` must be a .png or .tif because WEBP holds at most 16383 px a side. Received: a picture of 16384 x 100 px
    """
    most = SIDES.get(kind, max(size))
    if max(size) > most:
        raise ValueError(
            f"`out` must be a .png or .tif because {kind} holds at most {most} px a side. "
            f"Received: a picture of {size[0]} x {size[1]} px"
        )


def encoded(
    photo: Photo, pixels: Pixels, kind: str = "PNG", *, quality: int = 95, told: bool = True, mark: bool = True
) -> bytes:
    """Encode a photo whose pixels were edited.

    `pixels` (H, W, 3) are the photo's upright sRGB pixels after the edit; where they did not change, the photo's own
    values stay, in its own colours and depth as far as `kind` can hold them. Its colour profile is kept, and with `told`
    its EXIF and XMP data, as far as `losses` does not say otherwise. `mark` says in XMP, in a PNG as a text too, that a
    generative model edited it. Raises ValueError as `check_sides` does, and where an encoder fails.
    """
    check_sides(photo.size, kind)
    image, profile = _held(photo, pixels, kind)
    exif, packet = _carried(photo, kind) if told else (b"", b"")
    options: dict[str, Any] = {"exif": exif} if exif else {}
    if profile:
        options["icc_profile"] = profile
    packet = marked(packet) if mark else packet
    if kind == "PNG":
        options |= {"pnginfo": _png_texts(packet, mark), "compress_level": 4}
    elif kind == "TIFF":
        tags = Image.Exif()
        tags.load(options.pop("exif", b"") or b"Exif\0\0")
        if packet:
            tags[700] = packet
        packed = not any(map(tags.get_ifd, _FOLDERS))  # Pillow writes such folders into none that is packed
        options |= {"compression": "tiff_deflate" if packed else None, "exif": tags}
    else:
        options |= {"quality": quality} | ({"xmp": packet} if packet else {})
        options |= {"subsampling": 0} if kind == "JPEG" else {}
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except RuntimeError as error:  # of the encoders that are not Pillow's own
        raise ValueError(
            f"`out` must be a .png because this photo cannot be written as {kind}. Received: {error}"
        ) from error
    return buffer.getvalue()


def moving(frames: list[Image.Image], kind: str, *, quality: int = 95, mark: bool = True) -> bytes:
    """Encode frames as an endless GIF or WebP, each shown 80 ms; `mark` says in XMP that a generative model edited them.

    >>> moving([Image.new("RGB", (16, 16), color) for color in ("red", "blue")], "GIF")[:6]
    b'GIF89a'
    """
    check_sides(frames[0].size, kind)
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 80, "loop": 0}
    if kind == "WEBP":
        options |= {"quality": quality} | ({"xmp": marked(b"")} if mark else {})
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, **options)
    file = buffer.getvalue()
    return _with_gif_xmp(file, marked(b"")) if mark and kind == "GIF" else file


def _with_gif_xmp(file: bytes, packet: bytes) -> bytes:
    """Put a packet behind a GIF's header and colours, as the XMP standard has it: what reads GIF's blocks of at most 255 bytes
    takes letters for lengths and is caught by the slope of lengths at the end.
    """
    start = 13 + (3 << (file[10] & 7) + 1 if file[10] & 0x80 else 0)
    return b"".join((file[:start], _GIF_XMP, packet, b"\1", bytes(range(255, -1, -1)), b"\0", file[start:]))


def losses(photo: Photo, kind: str, limited: bool) -> list[str]:
    """Say what of a photo an edited file of this kind does not hold; `limited` where only some regions may change.

    >>> from seghgan_tf.photos import read, to_png
    >>> losses(read(to_png(np.zeros((16, 16, 3), np.uint8))), "JPEG", limited=True)
    ['JPEG is lossy: pixels outside the regions change a little too; .png or .tif keeps them']
    """
    own, said = photo.own, []
    if limited and kind in LOSSY:
        said.append(f"{kind} is lossy: pixels outside the regions change a little too; .png or .tif keeps them")
    if loses_depth(photo):
        said.append("the photo has 16 bits a channel, the edited file 8 (grey keeps its 16)")
    if own is not None and is_deep(own) and kind in LOSSY:
        said.append("the photo has 16 bits a channel, the edited file 8; .png or .tif keeps them")
    if own is not None and own.mode == "CMYK":
        said.append("the photo's colours are CMYK, the edited file's RGB")
    if kind in ("JPEG", "GIF") and own is not None and is_clear(own):
        said.append(f"{kind} holds no transparency: it becomes white; .png, .webp or .tif keeps it")
    if 0x0404 in open_header(photo.file).info.get("photoshop", {}):
        said.append("the photo's IPTC data are not kept")
    exif, packet = _carried(photo, kind)
    if packet != photo.xmp:
        said.append(f"the photo's XMP data are too long for {kind}: they are not kept")
    if exif != photo.exif:
        what = "the camera maker's note in the photo's EXIF data is" if exif else "the photo's EXIF data are"
        said.append(f"{what} too long for {kind}: not kept")
    return said


def loses_depth(photo: Photo) -> bool:
    """Tell whether an edited file has 8 bits a channel where the photo has 16: in colour, for grey keeps them."""
    if photo.own is not None and is_deep(photo.own):
        return False
    if photo.format == "tiff":
        bits = open_header(photo.file).getexif().get(ExifTags.Base.BitsPerSample, 1)  # one for all or one for each
        return bool(np.max(bits) > 8)
    return photo.format == "png" and photo.file[24] == 16


def _held(photo: Photo, pixels: Pixels, kind: str) -> tuple[Image.Image, bytes]:
    """Return the edited picture as near to the photo's own as a kind of file holds it, and the profile of its colours, if any."""
    image, profile = Image.fromarray(pixels), photo.profile
    if photo.own:
        image = own_colors(photo.own, profile, photo.pixels, pixels)
    if kind == "JPEG" and image.has_transparency_data:
        return Image.fromarray(pixels).convert("RGB" if image.mode == "RGBA" else "L"), b""
    if kind in LOSSY and image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if kind in LOSSY and kind != "JPEG" and image.mode in ("L", "LA") and profile:
        colors = to_srgb(image.convert("L"), profile)  # as they hold colour only
        if image.mode == "LA":
            colors.putalpha(image.getchannel("A"))
        return colors, b""
    return image, profile if _fits(profile, image) else b""


def _carried(photo: Photo, kind: str) -> tuple[bytes, bytes]:
    """Return a photo's EXIF data and XMP packet, less what a JPEG cannot hold: first the camera maker's note, a packet as a whole."""
    exif, packet = photo.exif, photo.xmp
    if kind == "JPEG" and len(marked(packet)) > _SEGMENT - len(_XMP_NAME):
        packet = b""
    if kind == "JPEG" and len(exif) > _SEGMENT:
        tags = Image.Exif()
        tags.load(exif)
        tags.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.Base.MakerNote, None)
        exif = tags.tobytes()
        exif = exif if len(exif) <= _SEGMENT else b""
    return exif, packet


def _fits(profile: bytes, image: Image.Image) -> bool:
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except CMS_ERRORS:
        return False
    return bool(space == {"RGB": "RGB", "RGBA": "RGB"}.get(image.mode, "GRAY"))


def _png_texts(packet: bytes, mark: bool) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    if packet:
        texts.add_itxt("XML:com.adobe.xmp", packet.decode(errors="replace"))
    if mark:
        texts.add_text("Comment", f"Edited by a generative model (SegHGAN-TF): {SOURCE_TYPE}")
    return texts


def with_mark(file: bytes) -> bytes:
    """Return a PNG or JPEG that carries no XMP with the mark of an edited picture; what holds its pixels stays as it is.

    >>> from seghgan_tf.photos import to_png
    >>> SOURCE_TYPE.encode() in with_mark(to_png(np.zeros((16, 16, 3), np.uint8)))
    True
    """
    packet, made = marked(b""), io.BytesIO()
    if file.startswith(b"\x89PNG"):
        place = 33  # behind the signature and the first chunk
        for kind, body, _ in _png_texts(packet, mark=True).chunks:
            PngImagePlugin.putchunk(made, kind, body)
    else:
        place = 4 + int.from_bytes(file[4:6]) if file[2:4] == b"\xff\xe0" else 2  # JFIF's own segment stays the first
        body = _XMP_NAME + packet
        made.write(b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body)
    return file[:place] + made.getvalue() + file[place:]
