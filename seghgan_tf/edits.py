"""What is asked of a photo, from a command's words to an edited file: one edit, a sheet of emotions, a sequence."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import typer
from PIL import Image, ImageDraw

from seghgan_tf.editing import Editor, Face
from seghgan_tf.expressions import EMOTION_AUS, parse_au
from seghgan_tf.photos import Photo, Pixels, read, to_png
from seghgan_tf.saving import KINDS, encoded, kind_of, moving

TILE = 320
"""Longest side in pixels of a picture on a sheet."""


class Wish(NamedTuple):
    """The expression asked for: values by label in the user's units, set or (`relative`) added, at a strength of 0..1.

    An `emotion` or the face of an `other` photo become values once the model is known.
    """

    values: dict[str, float]
    relative: bool = False
    strength: float = 1.0
    emotion: str | None = None
    other: Path | None = None

    @classmethod
    def parse(
        cls,
        au: list[str] | None,
        emotion: str | None,
        delta: list[str] | None,
        other: Path | None,
        strength: float,
        *,
        anything: bool,
    ) -> Self:
        """Make a wish of a command's options; BadParameter unless exactly one kind is given, or none where `anything` goes."""
        given = sum(bool(one) for one in (au, emotion, delta, other))
        if given != 1 and not (anything and given == 0):
            raise typer.BadParameter(
                "give --au AU12=3 (repeat for more), --emotion happy, --delta AU12=+1, or --from OTHER.jpg"
            )
        if emotion and emotion not in EMOTION_AUS:
            raise typer.BadParameter(f"--emotion must be one of {', '.join(EMOTION_AUS)}. Received: {emotion}")
        return cls(dict(map(parse_au, au or delta or ())), bool(delta), strength, emotion, other)

    def filled(self, editor: Editor) -> Self:
        """Return the wish with the values of its emotion or of the other photo. Raises ValueError where they cannot be had."""
        if self.emotion:
            return self._replace(values=editor.space.emotion(self.emotion))
        if self.other:
            return self._replace(values=editor.analyze(self.other.read_bytes()))
        editor.space.check_proven(self.values)
        return self

    def of(self, face: Face, share: float = 1.0) -> dict[str, float]:
        """Return the values for a face, `share` of the way from what is seen in it.

        >>> face = Face(None, (0, 0, 9, 9), 1.0, {"AU12": 1.0})
        >>> Wish({"AU12": 4.0}, strength=0.5).of(face)
        {'AU12': 2.5}
        """
        share *= self.strength
        if self.relative:
            return {label: share * value for label, value in self.values.items()}
        return {
            label: face.seen.get(label, 0.0) + share * (value - face.seen.get(label, 0.0))
            for label, value in self.values.items()
        }


class Settings(NamedTuple):
    """How photos are edited: the options that all photos of a command share."""

    wish: Wish
    regions: list[str] | None
    face: str
    quality: int
    exif: bool
    mark: bool
    sheet: bool
    sequence: int


def name_for(path: Path, photo: Photo, settings: Settings) -> str:
    """Return the name of the edited file: the photo's own where its kind is written here, else with .png."""
    if settings.sequence:
        return f"{path.stem}.webp"
    return path.name if path.suffix.lower() in KINDS else f"{path.stem}.png"


def edited_file(editor: Editor, photo: Photo, settings: Settings, out: Path) -> tuple[bytes, list[Face]]:
    """Edit a photo's faces; return a file of the kind that `out` ends in and the faces. Raises as `Editor.edit` does."""
    faces = editor.chosen(photo, settings.face)
    if settings.sequence:
        steps = [i / max(settings.sequence - 1, 1) for i in range(settings.sequence)]
        frames = [_changed(editor, photo, faces, settings, settings.wish, step) for step in steps]
        there_and_back = [Image.fromarray(frame) for frame in (*frames, *frames[-2:0:-1])]
        kind = out.suffix[1:].upper()
        return moving(there_and_back, kind, quality=settings.quality, mark=settings.mark), faces
    kind = (
        (photo.format.upper() if photo.format.upper() in KINDS.values() else "PNG") if str(out) == "-" else kind_of(out)
    )
    if settings.sheet:
        picture = read(to_png(np.asarray(_sheet(editor, photo, faces, settings))))
        return encoded(picture, picture.pixels, kind, quality=settings.quality, mark=settings.mark), faces
    pixels = _changed(editor, photo, faces, settings, settings.wish)
    mark = settings.mark and pixels is not photo.pixels
    if pixels is photo.pixels and kind == photo.format.upper() and settings.exif:
        return photo.file, faces
    return encoded(photo, pixels, kind, quality=settings.quality, told=settings.exif, mark=mark), faces


def _changed(
    editor: Editor, photo: Photo, faces: list[Face], settings: Settings, wish: Wish, share: float = 1.0
) -> Pixels:
    """Return the pixels with each face edited, `share` of the way; the photo's own array where nothing is asked."""
    pixels = photo.pixels
    for face in faces if share * wish.strength else ():
        asked = wish.of(face, share)
        if wish.relative and not any(asked.values()):
            continue
        pixels = editor.edit_face(pixels, face, asked, relative=wish.relative, regions=settings.regions)
    return pixels


def _sheet(editor: Editor, photo: Photo, faces: list[Face], settings: Settings) -> Image.Image:
    """Draw the photo and each emotion that the model can show, three in a row, its name below."""
    tiles = [("photo", photo.pixels)]
    for emotion, values in editor.space.emotions().items():
        wish = Wish(values, strength=settings.wish.strength)
        tiles.append((emotion, _changed(editor, photo, faces, settings, wish)))
    if len(tiles) == 1:
        raise ValueError(
            f"`--sheet` needs a model that can show an emotion. Received: {', '.join(editor.space.labels)}"
        )
    height, width = photo.pixels.shape[:2]
    scale = min(1.0, TILE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rows = -(-len(tiles) // 3)
    canvas = Image.new("RGB", (3 * (size[0] + 8) + 8, rows * (size[1] + 30) + 8), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (name, pixels) in enumerate(tiles):
        place = 8 + i % 3 * (size[0] + 8), 8 + i // 3 * (size[1] + 30)
        canvas.paste(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), place)
        draw.text((place[0], place[1] + size[1] + 4), name, fill="black", font_size=16)
    return canvas
