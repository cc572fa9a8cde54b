"""The surface of the skin: its relief, folds and soft shadows, before anything is painted on it."""

from types import SimpleNamespace

import numpy as np

from tfrecords_tools.drawn_faces.canvas import Canvas, Window, dome, linear, slopes

CHIN = (
    (-0.03, 0.0), (0.0, 0.008), (0.03, 0.0), (-0.017, 0.022), (0.017, 0.022), (0.0, -0.012), (-0.042, 0.016), (0.042, 0.016),
)  # fmt: skip
"""Where the chin puckers, around the middle of its boss."""


def spot(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> tuple[Window, np.ndarray]:
    """Return the window and the soft profile (0..1) of a round of half-size (rx, ry)."""
    window = canvas.window(x, y, rx, ry)
    return window, dome((canvas.x[window] - x) / rx, (canvas.y[window] - y) / ry)


def bump(canvas: Canvas, relief: np.ndarray, x: float, y: float, rx: float, ry: float, height: float) -> None:
    """Add a smooth hill (or hollow) of half-size (rx, ry) to the relief."""
    if abs(height) < 1e-5:
        return
    window, hill = spot(canvas, x, y, rx, ry)
    relief[window] += height * hill


def stroke(
    canvas: Canvas, start: tuple[float, float], end: tuple[float, float], bend: float, width: float
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
    thin = half * np.sqrt(middle) + 1e-4
    profile = np.maximum(1 - (off * off + beyond * beyond) / (thin * thin), 0)
    return window, profile * np.minimum(1.8 * middle + 0.1, 1) * (width / half)


def fold(
    canvas: Canvas, relief: np.ndarray, start: tuple[float, float], end: tuple[float, float], bend: float, width: float,
    depth: float,
) -> None:  # fmt: skip
    """Press a fold into the skin: a groove in the relief with a warm shadow in it."""
    if depth < 0.02:
        return
    window, profile = stroke(canvas, start, end, bend, 2.4 * width)
    profile *= canvas.skin[window]
    core = profile * profile * profile
    relief[window] -= 0.8 * width * depth * core
    tone = np.array([0.34, 0.46, 0.5], np.float32).reshape(3, 1, 1)
    canvas.albedo[:, window[0], window[1]] *= 1 - (min(depth, 1.4) * tone) * (0.4 * profile + 0.6 * core * core)


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
    bump(canvas, relief, 0, g.mouth_y - 0.022, 0.085, 0.028, 0.011 * a.AU23)
    bump(canvas, relief, 0, g.mouth_y + 0.032, 0.085, 0.03, 0.012 * a.AU23)
    for s in (-1, 1):
        bump(canvas, relief, s * g.brow_x, g.brow_y + 0.012, 0.08, 0.035, 0.01)
        bump(canvas, relief, s * (g.eye_x - 0.015), g.eye_y - 0.005, 0.075, 0.055, -0.018)
        bump(canvas, relief, s * g.eye_x, g.eye_y - 0.002, 0.052, 0.04, 0.014)
        lift, full = 0.022 * a.AU12 + 0.028 * a.AU06 + 0.01 * a.AU09, a.AU12 + 0.8 * a.AU06 + 0.3 * a.AU10
        bump(canvas, relief, s * 0.15, 0.085 - lift, 0.1, 0.085, 0.012 * (0.6 + face.cheekbones) + 0.022 * full)
        bump(canvas, relief, s * 0.8 * g.nose_half, g.wing_y, 0.027, 0.027, 0.017)
        pulled = 0.012 * (a.AU12 + a.AU14 + 0.6 * a.AU20)
        bump(canvas, relief, s * (g.mouth_half + 0.02), g.mouth_y + g.corner, 0.035, 0.035, pulled)
    below_lip = g.mouth_y + g.open_lower + g.lower_lip + 0.02 + 0.6 * g.bow
    canvas.darken(*_hollow(canvas, 0, below_lip, 0.06, 0.02, 0.16 + 0.3 * a.AU17))


def _hollow(canvas: Canvas, x: float, y: float, rx: float, ry: float, amount: float) -> tuple[Window, np.ndarray]:
    window, hole = spot(canvas, x, y, rx, ry)
    return window, amount * canvas.skin[window] * hole


def _upper_folds(canvas: Canvas, relief: np.ndarray, g: SimpleNamespace) -> None:
    """Fold the forehead, glabella, lids and the root of the nose."""
    a = g.a
    old = float(np.clip(canvas.face.age * 1.5 - 0.6, 0, 1))
    knit = 1.2 * a.AU04 + 0.4 * a.AU09 + 0.15 * old
    under, crow = g.eye_y + g.lid_lower, g.eye_x + g.eye_half + 0.012
    pouch = 0.22 + 0.5 * old + 0.85 * a.AU06 + 0.2 * a.AU12 + 0.75 * a.AU07
    folds = []
    for row in range(3):
        y, worry = -0.172 - 0.032 * row - 0.01 * a.AU01, (1.1 - 0.15 * row) * a.AU01 + 0.35 * old
        folds.append(((-0.085, y + 0.004), (0.085, y + 0.004), -0.008 * a.AU01 - 0.004, 0.009, worry))
    for s in (-1, 1):
        ex = s * g.eye_x
        folds.append(((s * 0.019, -0.145), (s * 0.023, -0.068), s * 0.004, 0.0095, knit))
        folds.append(((ex - s * 0.042, under + 0.016), (ex + s * 0.047, under + 0.013), s * 0.013, 0.01, pouch))
        for row in range(3):
            y, fan = -0.165 - 0.03 * row, 0.03 * (row - 1)
            arc, ray = (1.05 - 0.2 * row) * a.AU02, 1.25 * a.AU06 + 0.25 * a.AU07 + 0.3 * old
            root, wrinkle = -0.05 + 0.026 * row, a.AU09 * (1.25 - 0.15 * row)
            folds.append(((s * 0.07, y - 0.012), (s * 0.18, y + 0.004), -s * 0.014, 0.009, arc))
            folds.append(((s * crow, g.eye_y + 0.15 * fan), (s * (crow + 0.042), g.eye_y + fan), 0.002 * s, 0.008, ray))
            folds.append(((s * 0.004, root), (s * (0.04 + 0.004 * row), root + 0.02), s * 0.006, 0.009, wrinkle))
        canvas.darken(*_hollow(canvas, s * 0.05, g.brow_y + 0.045, 0.06, 0.035, 0.35 * a.AU04))
    for each in folds:
        fold(canvas, relief, *each)


def _lower_folds(canvas: Canvas, relief: np.ndarray, g: SimpleNamespace) -> None:
    """Fold what runs from the nose to the mouth, its corners and the chin."""
    a = g.a
    old = float(np.clip(canvas.face.age * 1.5 - 0.5, 0, 1))
    corner = g.mouth_y + g.corner
    laugh = 0.1 + 0.55 * old + 1.1 * a.AU12 + 1.15 * a.AU10 + 0.8 * a.AU09 + 0.25 * a.AU20
    wide, bow = 0.014 + 0.014 * a.AU12 + 0.012 * a.AU10, 0.012 + 0.014 * a.AU12 + 0.012 * a.AU10
    folds = []
    for s in (-1, 1):
        cx, wing = s * g.mouth_half, (s * (g.nose_half + 0.008), g.wing_y - 0.008)
        sad, pit, pull = 1.2 * a.AU15 + 0.3 * old, 1.2 * a.AU14, 1.15 * a.AU20
        folds += [
            (wing, (cx + s * wide, corner + 0.012 * (1 - a.AU12)), -s * bow, 0.011, laugh),
            ((cx + s * 0.008, corner + 0.006), (cx + s * 0.016, corner + 0.075), s * 0.004, 0.012, sad),
            ((cx + s * 0.015, corner - 0.042), (cx + s * 0.015, corner + 0.045), -s * 0.018, 0.015, pit),
            ((cx + s * 0.022, corner - 0.06), (cx + s * 0.022, corner + 0.06), -s * 0.014, 0.014, pull),
        ]
        for line in range(2):
            x, top, low = s * (0.017 + 0.03 * line), g.mouth_y - g.upper_lip, g.mouth_y + g.lower_lip
            folds.append(((x * 1.15, top - 0.03), (x, top - 0.003), 0.0, 0.012, 0.75 * a.AU23))
            folds.append(((x, low + 0.003), (x * 1.15, low + 0.028), 0.0, 0.012, 0.7 * a.AU23))
        shade = 0.16 + 0.4 * a.AU14 + 0.1 * a.AU12 + 0.25 * a.AU15 + 0.15 * a.AU20
        canvas.darken(*_hollow(canvas, cx + s * 0.008, corner, 0.026, 0.026, min(shade, 0.8)))
    for each in folds:
        fold(canvas, relief, *each)
    for i, (x, y) in enumerate(CHIN):
        size = 0.013 + 0.002 * (i % 3)
        bump(canvas, relief, x, g.chin - 0.062 + y, size, size, -0.006 * a.AU17)
        if a.AU17 > 0:
            canvas.darken(*_hollow(canvas, x, g.chin - 0.062 + y, size, size, 0.42 * a.AU17))


def complexion(canvas: Canvas, cover: np.ndarray, g: SimpleNamespace) -> None:
    """Colour the skin: redder cheeks, nose and ears, freckles, the shadow of a beard's absence."""
    face = canvas.face
    warm = linear((1.0, 0.86, 0.85))
    a = g.a
    spots = [(s * 0.15, 0.09 - 0.03 * a.AU12 - 0.02 * a.AU06, 0.11, 0.09) for s in (-1, 1)]
    strength = min(1.0, face.blush * (0.8 + 0.5 * a.AU12 + 0.5 * a.AU06))
    for cx, cy, rx, ry, amount in [(*each, strength) for each in spots] + [(0.0, g.nose_y - 0.035, 0.06, 0.05, 0.6)]:
        window, cheek = spot(canvas, cx, cy, rx, ry)
        canvas.tint(window, cheek * cover[window] * amount, warm)
    if face.freckles > 0:
        rng = np.random.default_rng(int(face.seed) + 1)
        columns = rng.normal(0, 0.1, 40), rng.normal(0.06, 0.035, 40), rng.uniform(0.004, 0.008, 40)
        for px, py, size in zip(*columns, strict=True):
            window, freckle = spot(canvas, px, py, size, size)
            canvas.tint(window, freckle * cover[window] * face.freckles * 0.5, linear((0.75, 0.55, 0.42)))
