"""Edit photos with a model, in this process or on a server, by the signatures of its export."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seghgan_tf.expressions import ExpressionSpace
from seghgan_tf.photos import Pixels, centre_square, read
from serving.bundle.manifest import verify, versions

Run = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Calls a signature, by its name, with arrays by input name; returns arrays by output name."""


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


class Editor:
    """Edits photos with a model, wherever it runs.

    `description` is the `model` entry of an export's manifest; `run` calls a signature with arrays and returns arrays.
    """

    def __init__(self, description: Mapping[str, Any], run: Run) -> None:
        space = description["expression"]
        self.space = ExpressionSpace(**(space | {"labels": tuple(space["labels"])}))
        self.size: int = description["image_size"]
        self.regions: list[str] = description["regions"]
        self.run = run

    @classmethod
    def from_export(cls, folder: Path) -> Self:
        """Load an export (its newest version) into this process; refused where its files do not match its manifest."""
        import tensorflow as tf

        path = newest_version(folder)
        description = verify(path)["model"]
        model = tf.saved_model.load(str(path))

        def run(signature: str, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
            outputs = model.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
            return {name: value.numpy() for name, value in outputs.items()}

        return cls(description, run)

    def analyze(self, photo: bytes) -> dict[str, float]:
        """Return the expression seen in a photo, by label, in the user's units (0..5 for action units)."""
        return self._seen(read(photo).pixels)

    def _seen(self, pixels: Pixels) -> dict[str, float]:
        seen = self.run("analyze", {"image": centre_square(pixels, self.size)[None]})["expression"][0]
        return {label: float(value) * self.space.scale for label, value in zip(self.space.labels, seen, strict=True)}

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
        jpeg_quality: int = 0,
    ) -> bytes:
        """Edit a photo: labels named in `expression` take that value (or change by it), the others stay as they are seen.

        Works on the centre square and pastes the change back at the photo's own size. `regions` limits the edit, to nothing where it is
        empty. Returns PNG bytes, or JPEG for a `jpeg_quality` above 0. A relative edit by nothing returns the photo's own bytes.
        Raises ValueError for unknown labels or regions, values out of range, and photos that are no whole picture, too small or too large.
        """
        if relative and not any(expression.values()):
            return photo
        opened = read(photo)
        target = target_expression(self.space, self._seen(opened.pixels), expression, relative)
        limits = region_limits(self.regions, regions)
        inputs = {
            "image_bytes": np.asarray([opened.sent()], object),
            "expression": np.asarray([target], np.float32),
            "regions": np.asarray([limits], np.float32),
            "jpeg_quality": np.asarray([jpeg_quality], np.int32),
        }
        outputs = self.run("edit_bytes", inputs)
        edited: bytes = outputs["edited_bytes"][0]
        return edited


def target_expression(
    space: ExpressionSpace, seen: Mapping[str, float], asked: Mapping[str, float], relative: bool
) -> list[float]:
    """Return the expression vector to ask for: `asked` on top of what is `seen`, both in the user's units.

    A one-hot space takes `asked` alone. Raises ValueError as `ExpressionSpace.vector` does.

    >>> from seghgan_tf.expressions import expression_space
    >>> target_expression(expression_space("AU12,AU25"), {"AU12": 1.0, "AU25": 2.0}, {"AU12": 3.0}, relative=True)
    [0.8, 0.4]
    """
    if not relative:
        space.vector(asked)
    base = {} if space.one_hot else dict(seen)
    unknown = {label: 0.0 for label in asked if label not in space.labels}
    space.vector(unknown)
    low, high = space.low * space.scale, space.high * space.scale
    values = {
        label: min(max((base.get(label, 0.0) if relative else 0.0) + value, low), high)
        for label, value in asked.items()
    }
    return space.vector(base | values)


def region_limits(names: Sequence[str], regions: Sequence[str] | None) -> list[float]:
    """Return the `regions` input of an edit: the whole image where `regions` is None, else the chosen regions, which may be none.

    >>> region_limits(("whole", "eyes", "nose", "mouth"), ["mouth"])
    [0.0, 0.0, 0.0, 1.0]
    """
    unknown = sorted(set(regions or ()) - set(names))
    if unknown:
        raise ValueError(f"`regions` must be among {', '.join(names[1:])}. Received: {', '.join(unknown)}")
    return [float(name in (("whole",) if regions is None else regions)) for name in names]
