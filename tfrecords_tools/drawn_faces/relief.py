"""The surface of the skin: its relief, folds and soft shadows, before anything is painted on it."""

from types import SimpleNamespace

import numpy as np

from tfrecords_tools.drawn_faces.canvas import Canvas, Window, dome, linear, slopes


def bump(
    canvas: Canvas, relief: np.ndarray, x: float, y: float, rx: float, ry: float, height: float, turn: float = 0.0
) -> None:
    """Add a smooth hill (or hollow) of half-size (rx, ry), turned by `turn` radians, to the relief."""
    if abs(height) < 1e-5:
        return
    reach = max(rx, ry) if turn else 0.0
    window = canvas.window(x, y, max(rx, reach), max(ry, reach))
    u, v = canvas.x[window] - x, canvas.y[window] - y
    if turn:
        c, s = float(np.cos(turn)), float(np.sin(turn))
        u, v = c * u + s * v, c * v - s * u
    relief[window] += height * dome(u / rx, v / ry)


def stroke(
    canvas: Canvas, start: tuple[float, float], end: tuple[float, float], bend: float, width: float, taper: float = 1.0
) -> tuple[Window, np.ndarray]:
    """Return the window and soft profile (0..1) of a line from `start` to `end` that bows by `bend` (to its right if positive)."""
    (x0, y0), (x1, y1) = start, end
    length = float(np.hypot(x1 - x0, y1 - y0))
    along_x, along_y = (x1 - x0) / length, (y1 - y0) / length
    reach = abs(bend) + width + 0.004
    window = canvas.window((x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0) / 2 + reach, abs(y1 - y0) / 2 + reach)
    u, v = canvas.x[window] - x0, canvas.y[window] - y0
    s = np.clip((u * along_x + v * along_y) / length, 0, 1)
    middle = 4 * s * (1 - s)
    off = (v * along_x - u * along_y) - bend * middle
    beyond = (u * along_x + v * along_y) - s * length
    half = max(width, 0.9 * canvas.pixel)
    thin = half * (1 - taper + taper * np.sqrt(middle)) + 1e-4
    profile = np.maximum(1 - (off * off + beyond * beyond) / (thin * thin), 0)
    return window, profile * (width / half)


def fold(
    canvas: Canvas,
    relief: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    bend: float,
    width: float,
    depth: float,
) -> None:
    """Press a fold into the skin: a groove in the relief with a warm shadow in it."""
    if depth < 0.02:
        return
    window, profile = stroke(canvas, start, end, bend, width)
    relief[window] -= 0.5 * width * depth * profile
    canvas.darken(window, 0.5 * min(depth, 1.3) * profile)


def sculpt(canvas: Canvas, g: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes of the face's skin, and darken its folds and hollows on the canvas."""
    face, x, y = canvas.face, canvas.x, canvas.y
    around = np.square(x / (face.face_width * 1.04)) + np.square((y - 0.03) / 0.43)
    relief = 0.2 * np.sqrt(np.maximum(1 - 0.9 * around, 0.03))
    _bones(canvas, relief, g)
    _upper_folds(canvas, relief, g)
    _lower_folds(canvas, relief, g)
    dx, dy = slopes(relief)
    return dx * canvas.size, dy * canvas.size


def _bones(canvas: Canvas, relief: np.ndarray, g: SimpleNamespace) -> None:
    """Raise brow, nose, cheeks, lips and chin; lower the sockets."""
    face, a = canvas.face, g.a
    bump(canvas, relief, 0, -0.2, 0.2, 0.12, 0.012)
    bump(canvas, relief, 0, 0.21, 0.15, 0.15, 0.022)
    bump(canvas, relief, 0, g.chin - 0.055, 0.075, 0.06, 0.024 + 0.012 * a.AU17)
    bump(canvas, relief, 0, 0.045, 0.032, 0.13, 0.024 * face.nose_bridge)
    bump(canvas, relief, 0, 0.085, 0.05, 0.1, 0.02 * face.nose_bridge)
    bump(canvas, relief, 0, g.nose_y - 0.03, 0.04, 0.038, 0.03 * (1 + 0.3 * face.nose_tip))
    bump(canvas, relief, 0, (g.nose_y + g.mouth_y) / 2 - 0.005, 0.012, 0.03, -0.005)
    bump(canvas, relief, 0, g.mouth_y + g.open_lower + g.lower_lip + 0.022, 0.06, 0.02, -0.01 - 0.008 * a.AU17)
    for s in (-1, 1):
        bump(canvas, relief, s * g.brow_x, g.brow_y + 0.012, 0.08, 0.035, 0.01)
        bump(canvas, relief, s * (g.eye_x - 0.015), g.eye_y - 0.005, 0.075, 0.055, -0.018)
        bump(canvas, relief, s * g.eye_x, g.eye_y - 0.002, 0.052, 0.04, 0.014)
        lift, full = 0.022 * a.AU12 + 0.028 * a.AU06 + 0.01 * a.AU09, a.AU12 + 0.8 * a.AU06 + 0.3 * a.AU10
        bump(canvas, relief, s * 0.15, 0.085 - lift, 0.1, 0.085, 0.012 * (0.6 + face.cheekbones) + 0.022 * full)
        bump(canvas, relief, s * 0.8 * g.nose_half, g.wing_y, 0.027, 0.027, 0.017)
        bump(
            canvas,
            relief,
            s * (g.mouth_half + 0.02),
            g.mouth_y + g.corner,
            0.035,
            0.035,
            0.012 * (a.AU12 + a.AU14 + 0.6 * a.AU20),
        )
    canvas.darken(
        *_hollow(
            canvas, 0, g.mouth_y + g.open_lower + g.lower_lip + 0.02 + 0.6 * g.bow, 0.06, 0.02, 0.16 + 0.3 * a.AU17
        )
    )


def _hollow(canvas: Canvas, x: float, y: float, rx: float, ry: float, amount: float) -> tuple[Window, np.ndarray]:
    window = canvas.window(x, y, rx, ry)
    return window, amount * dome((canvas.x[window] - x) / rx, (canvas.y[window] - y) / ry)


def _upper_folds(canvas: Canvas, relief: np.ndarray, g: SimpleNamespace) -> None:
    """Fold the forehead, glabella, lids and the root of the nose."""
    face, a = canvas.face, g.a
    old = float(np.clip(face.age * 1.5 - 0.6, 0, 1))
    for row in range(3):
        y = -0.165 - 0.032 * row - 0.01 * a.AU01
        fold(
            canvas,
            relief,
            (-0.085, y + 0.004),
            (0.085, y + 0.004),
            -0.008 * a.AU01 - 0.004,
            0.009,
            (1.0 - 0.15 * row) * a.AU01 + 0.35 * old,
        )
    for s in (-1, 1):
        for row in range(3):
            y = -0.16 - 0.03 * row
            fold(
                canvas,
                relief,
                (s * 0.07, y - 0.012),
                (s * 0.18, y + 0.004),
                -s * 0.014,
                0.009,
                (0.95 - 0.2 * row) * a.AU02,
            )
        knit = a.AU04 + 0.35 * a.AU09
        fold(canvas, relief, (s * 0.019, -0.145), (s * 0.023, -0.068), s * 0.004, 0.0095, 1.2 * knit + 0.15 * old)
        canvas.darken(*_hollow(canvas, s * 0.05, g.brow_y + 0.045, 0.06, 0.035, 0.35 * a.AU04))
        ex = s * g.eye_x
        under = g.eye_y + g.lid_lower
        squeeze = a.AU06 + 0.25 * a.AU12 + 0.5 * a.AU07
        fold(canvas, relief, (ex - s * 0.04, under + 0.016), (ex + s * 0.045, under + 0.013), s * (0.012 + 0.004 * old), 0.009,
             0.22 + 0.5 * old + 0.75 * squeeze)  # fmt: skip
        for ray in range(3):
            start = (s * (g.eye_x + g.eye_half + 0.012), g.eye_y + 0.004 * (ray - 1))
            end = (s * (g.eye_x + g.eye_half + 0.05), g.eye_y + 0.028 * (ray - 1))
            fold(canvas, relief, start, end, 0.002 * s, 0.007, 1.15 * a.AU06 + 0.25 * a.AU07 + 0.3 * old)
        for row in range(3):
            depth = a.AU09 * (1.2 - 0.15 * row)
            fold(
                canvas,
                relief,
                (s * 0.004, -0.05 + 0.026 * row),
                (s * (0.04 + 0.004 * row), -0.03 + 0.026 * row),
                s * 0.006,
                0.009,
                depth,
            )


def _lower_folds(canvas: Canvas, relief: np.ndarray, g: SimpleNamespace) -> None:
    """Fold what runs from the nose to the mouth, its corners and the chin."""
    face, a = canvas.face, g.a
    old = float(np.clip(face.age * 1.5 - 0.5, 0, 1))
    corner_y = g.mouth_y + g.corner
    for s in (-1, 1):
        cx = s * g.mouth_half
        laugh = 0.1 + 0.55 * old + 1.0 * a.AU12 + 1.15 * a.AU10 + 0.8 * a.AU09 + 0.25 * a.AU20
        wide = 0.014 + 0.014 * a.AU12 + 0.012 * a.AU10
        fold(canvas, relief, (s * (g.nose_half + 0.008), g.wing_y - 0.008), (cx + s * wide, corner_y + 0.012 * (1 - a.AU12)),
             -s * (0.012 + 0.014 * a.AU12 + 0.012 * a.AU10), 0.011, laugh)  # fmt: skip
        fold(
            canvas,
            relief,
            (cx + s * 0.01, corner_y + 0.008),
            (cx + s * 0.014, corner_y + 0.07),
            s * 0.004,
            0.01,
            0.95 * a.AU15 + 0.3 * old,
        )
        fold(
            canvas,
            relief,
            (cx + s * 0.014, corner_y - 0.035),
            (cx + s * 0.014, corner_y + 0.04),
            -s * 0.016,
            0.012,
            1.3 * a.AU14,
        )
        fold(
            canvas,
            relief,
            (cx + s * 0.026, corner_y - 0.05),
            (cx + s * 0.026, corner_y + 0.055),
            -s * 0.014,
            0.011,
            1.0 * a.AU20,
        )
        canvas.darken(
            *_hollow(canvas, cx + s * 0.008, corner_y, 0.024, 0.024, 0.16 + 0.5 * a.AU14 + 0.1 * a.AU12 + 0.2 * a.AU15)
        )
    for i, (px, py) in enumerate(
        (
            (-0.03, 0.0),
            (0.0, 0.008),
            (0.03, 0.0),
            (-0.017, 0.022),
            (0.017, 0.022),
            (0.0, -0.012),
            (-0.042, 0.016),
            (0.042, 0.016),
        )
    ):
        size = 0.013 + 0.002 * (i % 3)
        bump(canvas, relief, px, g.chin - 0.062 + py, size, size, -0.006 * a.AU17)
        canvas.darken(*_hollow(canvas, px, g.chin - 0.062 + py, size, size, 0.4 * a.AU17))
    for s in (-1, 1):
        for line in range(3):
            x = s * (0.012 + 0.024 * line)
            top, low = g.mouth_y - g.upper_lip, g.mouth_y + g.lower_lip
            fold(canvas, relief, (x * 1.15, top - 0.028), (x, top - 0.004), 0.0, 0.006, 0.75 * a.AU23)
            fold(canvas, relief, (x, low + 0.004), (x * 1.15, low + 0.024), 0.0, 0.006, 0.6 * a.AU23)


def complexion(canvas: Canvas, cover: np.ndarray, g: SimpleNamespace) -> None:
    """Colour the skin: redder cheeks, nose and ears, freckles, the shadow of a beard's absence."""
    face, x, y = canvas.face, canvas.x, canvas.y
    warm = linear((1.0, 0.86, 0.85))
    a = g.a
    for s in (-1, 1):
        cheek = dome((x - s * 0.15) / 0.11, (y - 0.09 + 0.03 * a.AU12 + 0.02 * a.AU06) / 0.09)
        canvas.tint(
            (slice(None), slice(None)), cheek * cover * min(1.0, face.blush * (0.8 + 0.5 * a.AU12 + 0.5 * a.AU06)), warm
        )
    nose = dome(x / 0.06, (y - g.nose_y + 0.035) / 0.05)
    canvas.tint((slice(None), slice(None)), nose * cover * 0.6, warm)
    if face.freckles > 0:
        rng = np.random.default_rng(int(face.seed) + 1)
        for px, py, size in zip(
            rng.normal(0, 0.1, 40), rng.normal(0.06, 0.035, 40), rng.uniform(0.004, 0.008, 40), strict=True
        ):
            window = canvas.window(px, py, size, size)
            spot = dome((canvas.x[window] - px) / size, (canvas.y[window] - py) / size)
            canvas.tint(window, spot * cover[window] * face.freckles * 0.5, linear((0.75, 0.55, 0.42)))
