"""Eyes, brows, nose and mouth, painted onto the skin."""

from types import SimpleNamespace

import numpy as np

from tfrecords_tools.drawn_faces.canvas import Canvas, dome, inside, linear, smooth
from tfrecords_tools.drawn_faces.relief import stroke

INK = linear((0.13, 0.08, 0.07))


def eye(canvas: Canvas, g: SimpleNamespace, side: int) -> None:
    """Paint one eye, `side` +1 at the image's right: ball, iris, lids and lashes."""
    face = canvas.face
    window = canvas.window(side * g.eye_x, g.eye_y, 0.085, 0.06)
    u = (canvas.x[window] - side * g.eye_x) * side
    v = canvas.y[window] - g.eye_y + face.eye_tilt * u
    t = np.clip(u / g.eye_half, -1.15, 1.15)
    arch = np.maximum(1 - t * t, 0) * (1 + 0.18 * np.minimum(np.abs(t), 1) - 0.1 * t)
    low = np.maximum(1 - t * t, 0) * (1 + 0.22 * t) * g.lid_lower
    high = -arch * g.lid_upper
    beyond = (np.abs(t) - 1) * g.eye_half
    kind = "l_eye" if side > 0 else "r_eye"
    lash = (0.007 + 0.004 * face.lashes) * (0.6 + 0.4 * np.clip(t + 0.6, 0, 1)) + 0.005 * g.shut
    line = inside(np.maximum(np.maximum(high - lash - v, v - np.maximum(low, high) - 0.002), beyond - 0.003))
    opening = inside(np.maximum(np.maximum(high - v, v - low), beyond)) * float(g.shut < 0.97)
    _lid(canvas, g, window, u, v, t, high)
    canvas.paint(window, line * (0.72 + 0.28 * face.lashes), INK, kind, gloss=0.05)
    _ball(canvas, g, side, window, u, v, high, opening, kind)
    rim = np.maximum(1 - np.abs(v - low - 0.0025) / 0.005, 0) * (np.abs(t) < 0.95)
    canvas.tint(window, rim * 0.55 * (1 - opening), linear((0.86, 0.6, 0.56)))


def _lid(
    canvas: Canvas, g: SimpleNamespace, window: tuple, u: np.ndarray, v: np.ndarray, t: np.ndarray, high: np.ndarray
) -> None:
    """Paint the upper lid's skin and its crease; a shut eye shows the whole lid."""
    face = canvas.face
    lift = high - g.crease * np.maximum(1 - 0.55 * t * t, 0)
    lid = inside(np.maximum(np.maximum(lift - v, v - high), (np.abs(t) - 1.1) * g.eye_half))
    canvas.tint(window, lid * (0.35 + 0.3 * face.lashes + 0.5 * g.shut), linear((0.86, 0.7, 0.66)))
    crease = np.maximum(1 - np.abs(v - lift) / 0.0075, 0) * np.maximum(1 - np.square(t * 0.92), 0)
    canvas.darken(window, crease * (0.5 - 0.15 * g.shut))
    if g.shut > 0.05:
        ball = dome(u / (g.eye_half * 1.1), (v + 0.006) / 0.03)
        dy = canvas.dy[window]
        dy += g.shut * ball * np.clip(v + 0.008, -0.03, 0.03) * 14
        lashes = np.maximum(1 - np.abs(v - high - 0.006) / 0.006, 0) * (np.abs(t) < 1) * (0.5 + 0.5 * np.sin(u * 900))
        canvas.darken(window, 0.5 * g.shut * face.lashes * lashes)


def _ball(
    canvas: Canvas, g: SimpleNamespace, side: int, window: tuple, u: np.ndarray, v: np.ndarray, high: np.ndarray,
    opening: np.ndarray, kind: str,
) -> None:  # fmt: skip
    face = canvas.face
    gaze = 0.018 * face.gaze * side
    iu, iv = u - gaze, v + 0.0045
    radius = 0.0245 * face.iris_size * face.eye_size
    distance = np.sqrt(iu * iu + iv * iv) + 1e-6
    white = linear((0.88, 0.86, 0.845)) * (1 - 0.25 * np.square(u / g.eye_half))
    canvas.paint(window, opening, white, kind, gloss=0.25, slope=(u * side * 14, v * 10), flesh=0.3, shade=1.0)
    tone = linear(face.iris)
    ring = smooth(0.45, 1.0, distance / radius)
    glow = np.clip(iv / radius, -0.7, 0.9)
    rays = 1 + 0.18 * np.sin(np.arctan2(iv, iu) * 17 + float(face.seed % 7))
    colour = tone * (1.25 + 0.7 * glow) * rays * (1 - 0.72 * ring * ring)
    canvas.paint(window, opening * inside(distance - radius), colour)
    canvas.paint(window, opening * inside(distance - 0.42 * radius), linear((0.03, 0.025, 0.025)))
    canvas.darken(window, opening * 0.62 * np.clip(1 - (v - high) / 0.016, 0, 1))
    lamp = -0.008 if face.light_x < 0 else 0.008
    spark = dome((iu * side - lamp) / 0.0085, (iv + 0.0085) / 0.0085)
    canvas.paint(window, opening * np.minimum(1.5 * spark, 1), linear((1.0, 1.0, 1.0)) * 1.2, shade=1.0)


def brow(canvas: Canvas, g: SimpleNamespace, side: int) -> None:
    """Paint one eyebrow as a tapering band of hairs."""
    face = canvas.face
    window = canvas.window(side * g.brow_x, g.brow_y, g.brow_half + 0.02, 0.085)
    u = (canvas.x[window] - side * g.brow_x) * side
    t = np.clip(u / g.brow_half, -1.2, 1.2)
    inner, outer = np.square(np.maximum(0.5 - 0.5 * t, 0)), np.square(np.maximum(0.5 + 0.5 * t, 0))
    curve = g.brow_y + g.brow_inner * inner + g.brow_outer * outer + g.brow_middle * (1 - t * t)
    curve += 0.006 - 0.016 * face.brow_arch * np.square(np.maximum(1 - np.square(t - 0.25), 0)) + 0.009 * outer
    taper = np.sqrt(np.maximum(1 - np.square(0.52 * t + 0.46), 0))
    half = 0.0105 * face.brow_thickness * taper * np.clip((t + 1.12) * 6, 0, 1)
    v = canvas.y[window] - curve
    hairs = 0.5 + 0.5 * np.sin(u * 900 - v * 500 * (0.6 + t) + 2 * np.sin(u * 210))
    cover = inside(np.maximum(np.abs(v) - half, (np.abs(t) - 1.06) * g.brow_half))
    soft = np.clip(1.3 - 0.5 * np.square(v / (half + 1e-3)), 0, 1) * (0.8 + 0.2 * hairs)
    cover *= np.clip(0.55 + 0.6 * (t + 1), 0.55, 1)
    canvas.paint(window, cover * soft, linear(face.brow) * (0.75 + 0.4 * hairs), gloss=0.03)
    canvas.kind[window][cover > 0.4] = 6 if side > 0 else 7


def nose(canvas: Canvas, g: SimpleNamespace) -> None:
    """Shade the nose's sides, wings and nostrils and mark its class."""
    face, a = canvas.face, g.a
    window = canvas.window(0, 0.05, 0.09, 0.13)
    x, y = canvas.x[window], canvas.y[window]
    top, bottom = -0.045, g.nose_y + 0.008
    s = np.clip((y - top) / (bottom - top), 0, 1)
    half = 0.02 + (g.nose_half + 0.007 - 0.02) * s * s * (3 - 2 * s)
    round_end = np.sqrt(np.maximum(1 - np.square(np.maximum(y - g.wing_y, 0) / (bottom - g.wing_y + 1e-4)), 0))
    canvas.kind[window][(np.abs(x) < half * round_end) & (y > top) & (y < bottom)] = 2
    for side in (-1, 1):
        flank = dome((x - side * (0.026 + 0.01 * s)) / 0.026, (y - 0.03) / 0.12)
        canvas.darken(window, flank * 0.14)
        wing_x, wing_y = side * g.nose_half, g.wing_y
        start, end = (wing_x * 0.93, wing_y - 0.022), (wing_x * 0.72, wing_y + 0.023)
        line, profile = stroke(canvas, start, end, side * -0.012, 0.008)
        canvas.darken(line, (0.42 + 0.25 * a.AU09) * profile)
        hx, hy = side * 0.46 * g.nose_half, g.nose_y - 0.001 - 0.004 * face.nose_tip
        hole = dome((x - hx) / (0.36 * g.nose_half), (y - hy - side * 0.16 * (x - hx)) / 0.0115)
        canvas.paint(window, np.minimum(1.6 * hole, 1) * 0.85, linear(face.skin) * linear((0.42, 0.26, 0.24)))
    under = dome((x - 0.5 * face.light_x * 0.03) / 0.05, (y - g.nose_y - 0.012) / 0.018)
    canvas.darken(window, 0.34 * under)
    cast = dome((x + np.sign(face.light_x) * 0.045) / 0.04, (y - g.nose_y + 0.01) / 0.05)
    canvas.darken(window, 0.5 * min(abs(face.light_x), 0.7) * cast * (np.abs(x) > 0.02))
    shine = dome(x / 0.012, (y - g.nose_y + 0.036) / 0.014)
    canvas.gloss[window] += 0.25 * shine


def mouth(canvas: Canvas, g: SimpleNamespace) -> None:
    """Paint lips and, where they part, the mouth with teeth and tongue."""
    face, a = canvas.face, g.a
    drop = g.open_lower + g.lower_lip
    window = canvas.window(0, g.mouth_y + 0.4 * drop, g.mouth_half + 0.02, 0.055 + 0.75 * drop)
    x, y = canvas.x[window], canvas.y[window]
    t = np.clip(x / g.mouth_half, -1.15, 1.15)
    s, t2 = np.minimum(np.abs(t), 1), t * t
    q = np.maximum(1 - t2, 0)
    full = q * (1.55 - 0.55 * q)
    seam = g.mouth_y + g.corner * t2 * (0.4 + 0.6 * np.minimum(t2, 1)) + g.bow * q + 0.004 * q * (1 - 3.5 * t2)
    inner_top = seam - (g.open_upper + g.raise_upper * (0.55 + 1.2 * s * (1 - s) * 2)) * full * float(g.open_upper > 0)
    inner_low = seam + g.open_lower * (q + a.AU26 * (np.sqrt(q) - q))
    bow = (1 - s) * (0.9 - 0.25 * face.cupid + (1.75 + 0.35 * face.cupid) * s - 0.95 * s * s)
    top = inner_top - g.upper_lip * bow - 0.25 * g.raise_upper * 4 * s * (1 - s)
    low = inner_low + g.lower_lip * q * (1.22 - 0.22 * q)
    beyond = (np.abs(t) - 1) * g.mouth_half
    lip = linear(face.lips)
    ridge = 1 - np.square((y - (top + inner_top) / 2) / (g.upper_lip * 0.6 + 1e-3))
    cover = inside(np.maximum(np.maximum(top - y, y - inner_top - 0.0015), beyond))
    slope = (t * 0.6, 0.35 - 0.2 * ridge)
    canvas.paint(window, cover, lip * 0.86, "u_lip", gloss=0.25 * face.lip_gloss, flesh=0.7, slope=slope)
    belly = np.clip((y - inner_low) / (g.lower_lip * q + 4e-3), 0, 1)
    cover = inside(np.maximum(np.maximum(inner_low - 0.0015 - y, y - low), beyond))
    streaks = 1 + 0.05 * np.sin(x * 700 + 2 * np.sin(x * 90))
    slope = (t * 0.7, 1.9 * (belly - 0.42) - 0.25)
    canvas.paint(window, cover, lip * streaks, "l_lip", gloss=0.9 * face.lip_gloss, flesh=0.7, slope=slope)
    wet = dome((x + 0.02 * np.sign(face.light_x)) / (0.5 * g.mouth_half), (belly - 0.36) / 0.3)
    canvas.paint(window, cover * wet * (0.16 + 0.3 * face.lip_gloss), np.minimum(lip * 1.7 + 0.1, 1))
    gap = inner_low - inner_top
    if g.open_upper + g.open_lower > 0.0005:
        cavity = inside(np.maximum(np.maximum(inner_top - y, y - inner_low), beyond))
        _cavity(canvas, g, window, cavity, x, y, t, inner_top, inner_low)
    dark = np.maximum(1 - np.abs(y - np.clip(y, inner_top, inner_low)) / 0.0065, 0) * (beyond < 0.004)
    canvas.darken(
        window, (0.62 + 0.15 * a.AU23) * dark * np.clip(1.2 - gap * 60, 0.25, 1) * np.clip(1.3 - 0.5 * t2, 0, 1)
    )


def _cavity(
    canvas: Canvas, g: SimpleNamespace, window: tuple, cover: np.ndarray, x: np.ndarray, y: np.ndarray, t: np.ndarray,
    top: np.ndarray, low: np.ndarray,
) -> None:  # fmt: skip
    face, a = canvas.face, g.a
    canvas.paint(window, cover, linear((0.3, 0.09, 0.1)), "mouth", gloss=0.05, slope=(0.0, 0.0), flesh=0.2, shade=1.0)
    if a.AU26 > 0.1:
        tongue = dome(x / (0.62 * g.mouth_half), (y - g.mouth_y - g.open_lower) / (0.55 * g.open_lower + 1e-3))
        canvas.paint(window, cover * np.minimum(tongue * 1.6, 1) * a.AU26, linear((0.72, 0.33, 0.34)), gloss=0.3)
    ivory = linear((face.teeth, face.teeth * 0.98, face.teeth * 0.92))
    gaps = 1 - 0.3 * np.square(np.square(np.sin(x * 150 + 1.571)))
    edge = g.mouth_y - g.open_upper - g.raise_upper * 0.6 + 0.029
    upper = inside(np.maximum(y - edge - 0.006 * t * t + 0.12 * g.corner * t * t, (np.abs(t) - 0.86) * g.mouth_half))
    canvas.paint(window, cover * upper, ivory * gaps * (1 - 0.45 * t * t), gloss=0.3, slope=(t * 0.8, 0.0))
    if a.AU26 > 0.1:
        lower = inside(np.maximum(low - 0.012 - 0.01 * t * t - y, (np.abs(t) - 0.62) * g.mouth_half))
        canvas.paint(window, cover * lower * 0.85, ivory * gaps * 0.72)
    canvas.darken(window, cover * 0.55 * np.clip(1 - (y - top) / 0.014, 0, 1))
    canvas.darken(window, cover * 0.5 * np.square(np.minimum(np.abs(t), 1)))


def beard(canvas: Canvas, cover: np.ndarray, g: SimpleNamespace) -> None:
    """Paint beard and moustache as short hairs over the skin; their class stays skin."""
    face = canvas.face
    if face.beard <= 0 and face.moustache <= 0:
        return
    window = canvas.window(0, 0.28, 0.3, 0.25)
    x, y = canvas.x[window], canvas.y[window]
    rough = np.random.default_rng(int(face.seed) + 3).standard_normal(x.shape, np.float32)
    rough[1:] = 0.55 * (rough[1:] + rough[:-1])
    colour = linear(0.5 * np.asarray(face.brow) + 0.4 * np.asarray(face.hair))
    jaw = smooth(0.13, 0.24, y + 0.55 * np.maximum(np.abs(x) - 0.1, 0) + 0.02 * rough)
    bare = dome(x / (g.mouth_half + 0.03), (y - g.mouth_y - 0.4 * g.open_lower) / (0.062 + 0.6 * g.open_lower))
    chin = np.clip(jaw - 2.2 * bare, 0, 1) * face.beard
    lip_top = g.mouth_y - g.upper_lip - g.open_upper - g.raise_upper - 0.013
    above = lip_top - 0.35 * np.abs(g.corner) * np.square(x / g.mouth_half)
    reach = smooth(g.mouth_half + 0.03, g.mouth_half - 0.02, np.abs(x))
    strip = dome((y - above - 0.3 * x * x / 0.05) / 0.024) * reach * face.moustache
    amount = np.maximum(chin, strip) * cover[window] * (0.72 + 0.28 * rough)
    canvas.paint(window, np.clip(amount, 0, 0.95), colour * (0.85 + 0.3 * rough), gloss=0.02)
