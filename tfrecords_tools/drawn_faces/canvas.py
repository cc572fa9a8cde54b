"""The surface a face is drawn on: two coordinate frames, layers with normals and gloss, and the light that falls on them."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from seghgan_tf.regions import CLASSES

Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))


def linear(colour: Any) -> np.ndarray:
    """Turn an sRGB colour (0..1) into linear light, shape (3, 1, 1) (gamma 2 is near enough for a drawing)."""
    return np.square(np.asarray(colour, np.float32)).reshape(3, 1, 1)


def slopes(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a field's derivatives along x and y per pixel, by central differences."""
    dx, dy = np.empty_like(field), np.empty_like(field)
    np.subtract(field[:, 2:], field[:, :-2], out=dx[:, 1:-1])
    np.subtract(field[2:], field[:-2], out=dy[1:-1])
    dx[:, 0], dx[:, -1] = dx[:, 1], dx[:, -2]
    dy[0], dy[-1] = dy[1], dy[-2]
    dx *= 0.5
    dy *= 0.5
    return dx, dy


def inside(field: np.ndarray) -> np.ndarray:
    """Return the anti-aliased coverage 0..1 of the pixels in which `field` is negative."""
    dx, dy = slopes(field)
    steep = np.sqrt(dx * dx + dy * dy)
    return np.clip(0.5 - field / (steep + 1e-7), 0, 1)


def smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at `low` to 1 at `high`; falls where `high` is below `low`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def dome(u: np.ndarray, v: np.ndarray | float = 0.0) -> np.ndarray:
    """Return a bump of height 1 at the origin that ends smoothly on the unit circle."""
    return np.square(np.maximum(1 - u * u - v * v, 0))


def _crop(window: Window, cover: np.ndarray) -> tuple[Window, Window]:
    """Return `window` without the rows and columns that `cover` leaves empty, and the same part of `cover` itself."""
    part, smaller = [], []
    for axis in (1, 0):
        filled = np.flatnonzero(cover.max(axis) > 0)
        first, last = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 1)
        begin = window[1 - axis].start or 0
        part.append(slice(first, last))
        smaller.append(slice(begin + first, begin + last))
    return (smaller[0], smaller[1]), (part[0], part[1])


def _cut(value: Any, shape: tuple[int, ...], part: Window) -> Any:
    """Return the `part` of an array laid over `shape`; other values as they are."""
    return value[..., part[0], part[1]] if isinstance(value, np.ndarray) and value.shape[-2:] == shape else value


class Canvas:
    """Layers of one face: albedo (3, S, S), slopes of the surface, occlusion, gloss and class ids.

    Lengths are fractions of the image's side, the origin its centre, y down. `hx, hy` is the head's frame (roll, scale and
    shift undone: for the outline, hair, clothes); `x, y` the frame on the face's surface (yaw and pitch undone too).
    """

    def __init__(self, face: SimpleNamespace, size: int):
        self.size, self.face = size, face
        grid = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5).astype(np.float32)
        self.cos, self.sin = float(np.cos(face.roll)) / face.scale, float(np.sin(face.roll)) / face.scale
        u, v = grid[None, :] - face.shift_x, grid[:, None] - face.shift_y
        self.u, self.v = np.broadcast_to(grid[None, :], (size, size)), np.broadcast_to(grid[:, None], (size, size))
        self.hx, self.hy = self.cos * u + self.sin * v, self.cos * v - self.sin * u
        self.x, self.y = self.hx, self.hy
        for _ in range(3):
            depth = self.depth(self.x, self.y)
            self.x, self.y = self.hx - face.yaw * depth, self.hy - face.pitch * depth
        self.pixel = 1 / (size * face.scale)
        self.albedo = np.zeros((3, size, size), np.float32)
        self.dx, self.dy, self.gloss, self.flesh = np.zeros((4, size, size), np.float32)
        self.shade, self.skin = np.ones((2, size, size), np.float32)
        self.kind = np.zeros((size, size), np.uint8)

    @staticmethod
    def depth(x: Any, y: Any) -> Any:
        """How far the surface stands before the ears' plane (for the parallax of yaw and pitch)."""
        head = np.maximum(1 - x * x * 13 - (y - 0.02) * (y - 0.02) * 5.2, 0)
        nose = np.maximum(1 - x * x * 160 - (y - 0.12) * (y - 0.12) * 60, 0)
        return 0.24 * head + 0.05 * nose * nose

    def window(self, x: float, y: float, rx: float, ry: float, surface: bool = True) -> Window:
        """Return the pixels around a box of half-size (rx, ry) at (x, y) of the surface's (or the head's) frame."""
        face = self.face
        if surface:
            near = float(self.depth(x, y))
            x, y, rx, ry = x + face.yaw * near, y + face.pitch * near, rx * 1.12 + 0.012, ry * 1.12 + 0.012
        square = face.scale * face.scale
        column = ((self.cos * x - self.sin * y) * square + face.shift_x + 0.5) * self.size
        row = ((self.sin * x + self.cos * y) * square + face.shift_y + 0.5) * self.size
        turn = abs(self.sin / self.cos)
        wide, high = (rx + turn * ry) * self.size * face.scale + 2, (ry + turn * rx) * self.size * face.scale + 2
        return self._span(row, high), self._span(column, wide)

    def _span(self, middle: float, half: float) -> slice:
        start = min(max(int(middle - half), 0), self.size - 3)
        return slice(start, max(min(int(middle + half) + 2, self.size), start + 3))

    def paint(
        self, window: Window, cover: np.ndarray, colour: np.ndarray, kind: str = "", gloss: float | None = None,
        slope: tuple[Any, Any] | None = None, flesh: float | None = None, shade: Any = None,
    ) -> None:  # fmt: skip
        """Blend a layer over `window`; what is None stays as it lies below. `kind` names its class in the mask."""
        if cover.size > 4000:
            window, part = _crop(window, cover)
            shape = cover.shape
            cover, colour, shade = cover[part], _cut(colour, shape, part), _cut(shade, shape, part)
            slope = slope and (_cut(slope[0], shape, part), _cut(slope[1], shape, part))
        albedo = self.albedo[:, window[0], window[1]]
        albedo += cover * (colour - albedo)
        layers: list[tuple[np.ndarray, Any]] = [(self.gloss, gloss), (self.flesh, flesh), (self.shade, shade)]
        if slope is not None:
            layers += [(self.dx, slope[0]), (self.dy, slope[1])]
        for layer, value in layers:
            if value is not None:
                below = layer[window]
                below += cover * (value - below)
        if kind:
            self.kind[window][cover > 0.5] = CLASSES.index(kind)

    def tint(self, window: Window, amount: np.ndarray, colour: np.ndarray) -> None:
        """Multiply the albedo by `colour` where `amount` is 1, and not at all where it is 0."""
        self.albedo[:, window[0], window[1]] *= 1 + amount * (colour - 1)

    def darken(self, window: Window, amount: np.ndarray) -> None:
        """Take light away: 1 leaves none."""
        self.shade[window] *= 1 - amount

    def lit(self) -> np.ndarray:
        """Return the picture (3, S, S) in linear light under the face's lamp."""
        face = self.face
        lamp = np.array([face.light_x, face.light_y, 0.85])
        lx, ly, lz = (float(value) for value in lamp / np.linalg.norm(lamp))
        lean = 1 / np.sqrt(1 + self.dx * self.dx + self.dy * self.dy)
        facing = (lz - lx * self.dx - ly * self.dy) * lean
        hx, hy, hz = (float(value) for value in np.array([lx, ly, lz + 1]) / np.linalg.norm([lx, ly, lz + 1]))
        shine = np.maximum((hz - hx * self.dx - hy * self.dy) * lean, 0)
        for _ in range(5):
            shine *= shine
        key = linear(face.light_colour)
        wrap = self.flesh * np.array([0.42, 0.24, 0.18], np.float32).reshape(3, 1, 1)
        light = np.maximum((facing + wrap) / (1 + wrap), 0) * key
        sky = face.ambient * (1.0 - 0.18 * self.dy * lean)
        light = (light * (1.22 - face.ambient) + sky) * self.shade
        return self.albedo * light + (0.55 * self.gloss * shine * self.shade) * key
