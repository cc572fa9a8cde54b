"""What is asked of a photo, from a command's words to an edited file."""

import sys
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import typer

from seghgan_tf.editing import Editor, Face, target_expression
from seghgan_tf.expressions import EMOTION_AUS, parse_value
from seghgan_tf.photos import Photo, Pixels, read, to_png
from seghgan_tf.regions import region_limits
from seghgan_tf.saving import KINDS, check_sides, encoded, kind_of, losses, moving
from seghgan_tf.series import moving_size, sheet, shrunk
from serving.signature import FACES

_MOST = (
    f"{FACES} faces were found, the most that are looked for; where the photo has more, the smallest stay as they are"
)


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
        sheet: bool,
    ) -> Self:
        """Make a wish of a command's options; BadParameter unless exactly one kind is given, for a `sheet` none."""
        given = sum(bool(one) for one in (au, emotion, delta, other))
        if sheet and given:
            raise typer.BadParameter("--sheet shows every emotion; give no --au, --emotion, --delta or --from with it")
        if not sheet and given != 1:
            raise typer.BadParameter(
                "give --au AU12=3 (repeat for more), --emotion happy, --delta AU12=+1, or --from OTHER.jpg"
            )
        if emotion and emotion not in EMOTION_AUS:
            raise typer.BadParameter(f"--emotion must be one of {', '.join(EMOTION_AUS)}. Received: {emotion}")
        try:
            values = dict(map(parse_value, au or delta or ()))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--delta" if delta else "--au") from error
        return cls(values, bool(delta), strength, emotion, other)

    def filled(self, editor: Editor) -> Self:
        """Return the wish with the values of its emotion or of the other photo.

        Raises BadParameter for what the model cannot show, ValueError for another photo without a face.
        """
        if self.other:
            try:
                return self._replace(values=editor.analyze(self.other.read_bytes()))
            except ValueError as error:
                raise ValueError(f"--from {self.other}: {error}") from error
        try:
            values = editor.space.emotion(self.emotion) if self.emotion else self.values
            target_expression(editor.space, {}, values, self.relative)
        except ValueError as error:
            hint = "--emotion" if self.emotion else "--delta" if self.relative else "--au"
            raise typer.BadParameter(str(error), param_hint=hint) from error
        return self._replace(values=values)

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

    def known(self, editor: Editor) -> Self:
        """Return the settings with the wish's values. Raises BadParameter for what the model does not know, as `filled` does."""
        try:
            region_limits(self.regions, editor.regions)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        if self.sheet and not editor.space.emotions():
            labels = ", ".join(editor.space.labels)
            raise typer.BadParameter(f"--sheet needs a model that can show an emotion. Received: one of {labels}")
        return self._replace(wish=self.wish.filled(editor))


def given(path: Path) -> bytes:
    """Return a photo's file, for - what standard input holds."""
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


class Edited(NamedTuple):
    """An edited file, the faces in it, and in words what the file does not hold or show."""

    file: bytes
    faces: list[Face]
    notes: list[str]


def name_for(path: Path, settings: Settings) -> str:
    """Return the name of the edited file: the photo's own where its kind is written here, else with .png."""
    if settings.sequence:
        return f"{path.stem}.webp"
    return path.name if path.suffix.lower() in KINDS else f"{path.stem}.png"


def edited_file(editor: Editor, photo: Photo, settings: Settings, out: Path) -> Edited:
    """Edit a photo's faces into a file of the kind that `out` ends in, for - of the photo's own. Raises as `Editor.edit` does."""
    faces = editor.chosen(photo, settings.face)
    notes = [_MOST] if settings.face == "all" and len(faces) == FACES else []
    kind = _kind(photo, settings, out)
    if settings.sheet:
        return Edited(_sheet(editor, photo, faces, settings, kind), faces, notes)
    notes += losses(photo, kind, settings.regions is not None)
    if settings.sequence:
        size = moving_size(photo.size, settings.sequence)
        if size != photo.size:
            notes.append(f"the sequence is scaled from {photo.size[0]} x {photo.size[1]} to {size[0]} x {size[1]} px")
        return Edited(_sequence(editor, photo, faces, settings, kind, size), faces, notes)
    check_sides(photo.size, kind)
    pixels = _changed(editor, photo, faces, settings, settings.wish)
    unchanged = pixels is photo.pixels
    if unchanged and kind == photo.format.upper() and settings.exif:
        return Edited(photo.file, faces, [])
    mark = settings.mark and not unchanged
    return Edited(encoded(photo, pixels, kind, quality=settings.quality, told=settings.exif, mark=mark), faces, notes)


def _kind(photo: Photo, settings: Settings, out: Path) -> str:
    if settings.sequence:
        return "GIF" if out.suffix.lower() == ".gif" else "WEBP"
    if str(out) != "-":
        return kind_of(out)
    own = photo.format.upper()
    return own if own in KINDS.values() else "PNG"


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


def _sheet(editor: Editor, photo: Photo, faces: list[Face], settings: Settings, kind: str) -> bytes:
    """Encode a sheet of the photo and each emotion that the model can show."""
    strength = settings.wish.strength
    wishes = {name: Wish(values, strength=strength) for name, values in editor.space.emotions().items()}
    pictures = ((name, _changed(editor, photo, faces, settings, wish)) for name, wish in wishes.items())
    drawn = read(to_png(np.asarray(sheet(photo, pictures, len(wishes)))))
    return encoded(drawn, drawn.pixels, kind, quality=settings.quality, mark=settings.mark)


def _sequence(
    editor: Editor, photo: Photo, faces: list[Face], settings: Settings, kind: str, size: tuple[int, int]
) -> bytes:
    """Encode the steps from the photo to what is asked, and back."""
    frames, mark = [], False
    for i in range(settings.sequence):
        pixels = _changed(editor, photo, faces, settings, settings.wish, i / (settings.sequence - 1))
        mark |= settings.mark and pixels is not photo.pixels
        frames.append(shrunk(pixels, size))
    return moving([*frames, *frames[-2:0:-1]], kind, quality=settings.quality, mark=mark)
