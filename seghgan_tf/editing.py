"""Edit photos with a model, in this process or on a server, by the signatures of its export."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seghgan_tf.expressions import ExpressionSpace
from seghgan_tf.frames import Matrix, square
from seghgan_tf.photos import MIN_SIDE, Photo, Pixels, centre_square, read, to_png
from seghgan_tf.regions import region_limits
from seghgan_tf.saving import encoded
from serving.bundle.manifest import verify, versions

Run = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Calls a signature, by its name, with arrays by input name; returns arrays by output name."""

PRESET = "portrait-128"
"""The packaged model that edits where no other is named."""

SEARCHED = 1280
"""Longest side in pixels of what is sent to find faces."""

REACH = 0.15
"""From how far beyond a face's square an edit may draw pixels, as a share of its side: the flow's largest."""

TINY = 48
"""Side in pixels of a face's box below which an edit is coarse."""


def newest_version(folder: Path) -> Path:
    """Return an export's newest version folder, or `folder` itself where it is one.

    Raises ValueError where there is no export.
    """
    folder = Path(folder)
    if (folder / "manifest.json").is_file():
        return folder
    found = (
        [path for path in versions(folder).values() if (path / "manifest.json").is_file()] if folder.is_dir() else []
    )
    if not found:
        raise ValueError(f"`export` must be a folder that `seghgan export` wrote. Received: {folder}")
    return found[-1]


class Face(NamedTuple):
    """A face found in a photo: the matrix (2, 3) from the photo's pixels to the model's square, its box, how sure it is.

    `box` is left, top, right, bottom in pixels; `score` in 0..1; `seen` the expression by label, in the user's units.
    """

    frame: Matrix
    box: tuple[float, float, float, float]
    score: float
    seen: dict[str, float]

    def faults(self, width: int, height: int) -> list[str]:
        """Return in words what makes an edit of this face poor: it is tiny, or the photo's border cuts it."""
        left, top, right, bottom = self.box
        found = []
        if min(right - left, bottom - top) < TINY:
            found.append(f"it is only {right - left:.0f} x {bottom - top:.0f} px")
        if left < 0 or top < 0 or right > width or bottom > height:
            found.append("the photo's border cuts it")
        return found


class NoFace(ValueError):  # noqa: N818 - caught by name
    """Raised where a photo shows no face, or not the one asked for."""


class Editor:
    """Edits photos with a model, wherever it runs.

    `description` is the `model` entry of an export's manifest; `run` calls a signature with arrays and returns arrays;
    an export of an earlier version does not find faces and edits the centre square.
    """

    def __init__(self, description: Mapping[str, Any], run: Run, *, finds_faces: bool = True) -> None:
        self.space = ExpressionSpace.from_json(description["expression"])
        self.size: int = description["image_size"]
        self.regions: list[str] = description["regions"]
        self.run, self.finds_faces = run, finds_faces

    @classmethod
    def from_export(cls, folder: Path) -> Self:
        """Load an export (its newest version) into this process; refused where its files do not match its manifest."""
        import tensorflow as tf

        path = newest_version(folder)
        description = verify(path)["model"]
        model = tf.saved_model.load(str(path))

        run = _here(lambda signature, inputs: model.signatures[signature](**inputs))
        return cls(description, run, finds_faces="locate" in model.signatures)

    @classmethod
    def from_preset(cls, preset: str | Path = PRESET) -> Self:
        """Take a trained model that comes with the package, or an `.npz` file of weights; it edits in this process.

        Raises ValueError as `SegHGAN.from_preset` does.
        """
        from seghgan_tf.detector import Detector
        from seghgan_tf.model import SegHGAN
        from seghgan_tf.signatures import describe, functions

        model = SegHGAN.from_preset(preset)
        made = functions(model, Detector())
        return cls(describe(model), _here(lambda signature, inputs: made[signature](inputs)))

    def faces(self, photo: Photo) -> list[Face]:
        """Find the faces of a photo, largest first; at most 16."""
        pixels, scale = photo.pixels, 1.0
        if max(pixels.shape) > SEARCHED:
            scale = SEARCHED / max(pixels.shape)
            size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
            sent = to_png(np.asarray(Image.fromarray(pixels).resize(size, reducing_gap=2.0)))
        else:
            sent = photo.sent()
        found = {name: value[0] for name, value in self.run("locate", {"image_bytes": _one(sent)}).items()}
        rows = zip(found["frames"], found["boxes"], found["scores"], found["expressions"], strict=True)
        return [
            Face(
                frame.astype(np.float64) * (scale, scale, 1.0),
                tuple(float(place) / scale for place in box),  # type: ignore[arg-type]
                float(score),
                self._named(seen),
            )
            for frame, box, score, seen in rows
            if score > 0
        ]

    def centre(self, photo: Photo) -> Face:
        """Return the photo's centre square as if a face filled it."""
        height, width = photo.pixels.shape[:2]
        side, frame = min(width, height), square(width, height, self.size)
        left, top = (width - side) // 2, (height - side) // 2
        seen = self.run("analyze", {"image": centre_square(photo.pixels, self.size)[None]})["expression"][0]
        return Face(frame, (left, top, left + side, top + side), 1.0, self._named(seen))

    def chosen(self, photo: Photo, which: str = "largest") -> list[Face]:
        """Return the faces that `which` names: "largest", "all", "centre" (the middle square, face or not), or "2" for the
        second largest. Raises NoFace where there is none.
        """
        if which == "centre" or not self.finds_faces:
            return [self.centre(photo)]
        faces = self.faces(photo)
        if not faces:
            raise NoFace(
                "`photo` must show a face, of a thirtieth of its longer side or more. Received: a photo in which none was found; --frame centre edits its middle"
            )
        if which.isdecimal():
            if not 1 <= int(which) <= len(faces):
                raise NoFace(f"`face` must be 1 to {len(faces)}, the largest first. Received: {which}")
            return [faces[int(which) - 1]]
        if which not in ("largest", "all"):
            raise ValueError(f"`face` must be largest, all, centre or a number. Received: {which}")
        return faces if which == "all" else faces[:1]

    def analyze(self, photo: bytes, face: str = "largest") -> dict[str, float]:
        """Return the expression of a photo's face, by label, in the user's units (0..5 for action units)."""
        return self.chosen(read(photo), face)[0].seen

    def segment(self, photo: bytes) -> NDArray[np.uint8]:
        """Return the class ids (S, S) of a photo's centre square."""
        return self.run("segment", {"image": centre_square(read(photo).pixels, self.size)[None]})["labels"][0]

    def edit(
        self,
        photo: bytes,
        expression: Mapping[str, float],
        *,
        relative: bool = False,
        regions: Sequence[str] | None = None,
        face: str = "largest",
        kind: str = "PNG",
        quality: int = 95,
    ) -> bytes:
        """Edit a photo file: labels named in `expression` take that value (or change by it), the others stay as they are seen.

        `face` names the faces as `chosen` does; `regions` limits the edit, to nothing where it is empty. Returns a file of
        `kind` ("PNG", "JPEG", ...) with what the photo carried and the mark of an edited picture; pixels outside the faces'
        squares keep their values. A relative edit by nothing returns the photo's own bytes. Raises ValueError for unknown
        labels or regions, values out of range, photos that are none, too small or too large; NoFace where there is no face.
        """
        if relative and not any(expression.values()):
            return photo
        opened = read(photo)
        pixels = opened.pixels
        for one in self.chosen(opened, face):
            pixels = self.edit_face(pixels, one, expression, relative=relative, regions=regions)
        return encoded(opened, pixels, kind, quality=quality)

    def edit_face(
        self,
        pixels: Pixels,
        face: Face,
        expression: Mapping[str, float],
        *,
        relative: bool = False,
        regions: Sequence[str] | None = None,
    ) -> Pixels:
        """Return pixels (H, W, 3) with one face edited; only the face's square and what it may draw from are sent."""
        left, top, right, bottom = _sent_box(face.frame, self.size, pixels.shape) if self.finds_faces else face.box
        cut = pixels[int(top) : int(bottom), int(left) : int(right)]
        frame = face.frame.copy()
        frame[:, 2] += frame[:, :2] @ (left, top)
        target = target_expression(self.space, face.seen, expression, relative)
        inputs = {
            "image_bytes": _one(to_png(cut)),
            "expression": np.asarray([target], np.float32),
            "regions": np.asarray([region_limits(regions, self.regions)], np.float32),
            "jpeg_quality": np.zeros(1, np.int32),
        }
        if self.finds_faces:
            inputs["frames"] = frame[None].astype(np.float32)
        edited = pixels.copy()
        answer = read(bytes(self.run("edit_bytes", inputs)["edited_bytes"][0])).pixels
        edited[int(top) : int(bottom), int(left) : int(right)] = answer
        return edited

    def _named(self, seen: NDArray[np.float32]) -> dict[str, float]:
        return {label: float(value) * self.space.scale for label, value in zip(self.space.labels, seen, strict=True)}


def _here(call: Callable[[str, dict[str, Any]], Mapping[str, Any]]) -> Run:
    """Return a Run of TensorFlow's signatures in this process; ValueError where the graph refuses what it is given."""
    import tensorflow as tf

    def run(signature: str, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        try:
            outputs = call(signature, {name: tf.constant(value) for name, value in inputs.items()})
        except tf.errors.InvalidArgumentError as error:
            told = str(error.message).rpartition("<stack traces unavailable>")[2].split("[[{{")[0]
            raise ValueError(told.strip()) from error
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def _one(file: bytes) -> NDArray[np.object_]:
    return np.array([file], object)


def _sent_box(frame: Matrix, size: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of what is sent of a photo: the face's square and REACH of its side about it.

    At least MIN_SIDE a side, where the photo has as much.
    """
    turn = np.linalg.inv(frame[:, :2])
    low, high = -REACH * size, (1 + REACH) * size
    corners = (np.array([[low, low], [high, low], [low, high], [high, high]]) - frame[:, 2]) @ turn.T
    limits = np.array(shape[1::-1])
    middle = np.clip(corners.mean(0), MIN_SIDE / 2, limits - MIN_SIDE / 2)
    first = np.clip(np.minimum(np.floor(corners.min(0)), np.floor(middle - MIN_SIDE / 2)), 0, limits)
    last = np.clip(np.maximum(np.ceil(corners.max(0)), np.ceil(middle + MIN_SIDE / 2)), 0, limits)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def target_expression(
    space: ExpressionSpace, seen: Mapping[str, float], asked: Mapping[str, float], relative: bool
) -> list[float]:
    """Return the expression vector to ask for: `asked` on top of what is `seen`, both in the user's units.

    A one-hot space takes `asked` alone. Raises ValueError as `ExpressionSpace.vector` and `check_proven` do.

    >>> from seghgan_tf.expressions import expression_space
    >>> target_expression(expression_space("AU12,AU25"), {"AU12": 1.0, "AU25": 2.0}, {"AU12": 3.0}, relative=True)
    [0.8, 0.4]
    """
    if not relative:
        space.vector(asked)
    base = {} if space.one_hot else dict(seen)
    unknown = {label: 0.0 for label in asked if label not in space.labels}
    space.vector(unknown)
    space.check_proven(asked)
    low, high = space.low * space.scale, space.high * space.scale
    values = {
        label: min(max((base.get(label, 0.0) if relative else 0.0) + value, low), high)
        for label, value in asked.items()
    }
    return space.vector(base | values)
