"""Everything around the face: background, neck, clothes, ears, hair and what is worn."""

from types import SimpleNamespace

import numpy as np

from tfrecords_tools.drawn_faces.canvas import WHOLE, Canvas, Window, dome, inside, linear, smooth
from tfrecords_tools.drawn_faces.identity import HAIR_STYLES

SHAPES = {  # volume above and beside the skull, hair's end (y), curliness, drop of the hairline's sides, fringe
    "bald": (0.0, 0.0, -0.9, 0.0, 0.0, 0.0), "buzz": (0.01, 0.004, 0.03, 0.1, 0.24, 0.0),
    "short": (0.04, 0.012, 0.05, 0.25, 0.24, 0.018), "fringe": (0.045, 0.02, 0.07, 0.2, 0.2, 0.11),
    "quiff": (0.07, 0.008, 0.02, 0.3, 0.22, -0.02), "curls": (0.075, 0.07, 0.13, 1.0, 0.22, 0.02),
    "bob": (0.045, 0.05, 0.3, 0.15, 0.34, 0.1), "long": (0.04, 0.05, 0.7, 0.15, 0.42, 0.0),
    "waves": (0.05, 0.075, 0.7, 0.7, 0.4, 0.03), "bun": (0.02, 0.006, 0.0, 0.1, 0.26, 0.0),
    "receding": (0.015, 0.01, 0.06, 0.2, 0.24, -0.05),
}  # fmt: skip


def background(canvas: Canvas) -> None:
    """Paint a soft two-colour ground with a few blurred lights."""
    face = canvas.face
    c, s = float(np.cos(face.background_angle)), float(np.sin(face.background_angle))
    blend = smooth(-0.6, 0.6, c * canvas.u + s * canvas.v)
    near, far = linear(face.background), linear(face.background_far)
    canvas.albedo[:] = near + blend * (far - near)
    rng = np.random.default_rng(int(face.seed) + 2)
    for x, y, size, light in rng.random((4, 4)).tolist():
        spot = dome((canvas.u - x + 0.5) / (0.15 + 0.35 * size), (canvas.v - y + 0.5) / (0.15 + 0.35 * size))
        canvas.albedo *= 1 + (light - 0.45) * spot
    canvas.dy -= 0.1


def outline(canvas: Canvas, g: SimpleNamespace) -> np.ndarray:
    """Return the field that is negative inside the head (face and skull)."""
    face = canvas.face
    x, y = canvas.hx, canvas.hy
    down = np.maximum(y - 0.02, 0) / (g.chin - 0.02)
    up = np.maximum(0.02 - y, 0) / (0.41 + 0.5 * face.forehead)
    d2 = down * down
    taper = (
        1 - (0.19 - 0.08 * face.jaw) * d2 + 0.012 * face.cheekbones * np.maximum(1 - np.square((y - 0.06) / 0.12), 0)
    )
    wide = x / (face.face_width * (1 + 0.02 * np.minimum(down * 2, 1)) * taper)
    w2 = wide * wide
    square = float(np.clip(0.42 + 0.42 * face.jaw, 0.05, 0.85))
    point = float(np.clip(0.16 - 0.3 * face.chin - 0.1 * face.jaw, 0, 0.4))
    return (
        w2 + d2 * (1 - square + square * d2 * d2) + point * np.abs(wide) * d2 * d2 - 1 + up * up * (0.6 + 0.4 * up * up)
    )


def neck(canvas: Canvas, g: SimpleNamespace) -> None:
    """Paint the neck with the chin's shadow on it."""
    face = canvas.face
    window = canvas.window(0, 0.38, 0.35, 0.26, surface=False)
    x, y = canvas.hx[window], canvas.hy[window]
    half = 0.143 + 0.022 * face.jaw + 9 * np.square(np.maximum(y - 0.4, 0)) + 0.8 * np.square(np.maximum(0.4 - y, 0))
    cover = inside(np.maximum(np.abs(x) - half, 0.15 - y))
    t = x / half
    slope = (t * t * t * 2.2, 0.25 + 0 * t)
    canvas.paint(window, cover, linear(face.skin) * 0.96, "neck", gloss=0.08, flesh=1.0, slope=slope, shade=1.0)
    for side in (-1, 1):
        tendon = np.maximum(1 - np.abs(x - side * (0.12 - 0.25 * (y - 0.35))) / 0.018, 0)
        canvas.darken(window, cover * tendon * (0.12 + 0.3 * g.a.AU20))
    canvas.darken(window, cover * 0.78 * smooth(g.chin + 0.13, g.chin - 0.02, y + 1.2 * x * x))


def cloth(canvas: Canvas) -> None:
    """Paint shoulders and one of four collars."""
    face = canvas.face
    window = canvas.window(0, 0.46, 0.7, 0.16, surface=False)
    x, y = canvas.hx[window], canvas.hy[window]
    w = np.abs(x)
    shoulder = 0.4 + 0.42 * np.square(np.maximum(w - 0.12, 0)) - y
    opening = [0.49 - 3.2 * x * x, 0.56 - 1.1 * w, 0.54 - 1.15 * w, 0.44 - 0.6 * x * x][face.collar]
    cover = inside(np.maximum(shoulder, opening - y))
    base = linear(face.cloth)
    weave = 1 + 0.1 * np.sin(x * 15 + 4 * np.sin(y * 12 + x * 5))
    canvas.paint(window, cover, base * weave, "cloth", gloss=0.02, flesh=0.0, slope=(x * 1.6, 0.1 + 0 * x), shade=1.0)
    trim = np.maximum(1 - np.abs(y - opening - 0.012) / 0.012, 0) * cover
    canvas.tint(window, trim * 0.7, linear((0.7, 0.7, 0.72)) if face.collar != 2 else linear((1.3, 1.3, 1.3)))
    canvas.darken(window, cover * 0.25 * smooth(0.14, 0.02, np.abs(w - 0.16)) * smooth(0.5, 0.4, y))


def ears(canvas: Canvas) -> None:
    """Paint both ears behind the face's outline; they move against the yaw."""
    face = canvas.face
    for side in (-1, 1):
        cx, cy = side * (face.face_width + 0.004) - 0.06 * face.yaw, 0.05 - 0.06 * face.pitch
        rx, ry = 0.035 * face.ears, 0.085 * face.ears
        window = canvas.window(cx, cy, rx + 0.02, ry + 0.02, surface=False)
        u, v = (canvas.hx[window] - cx) / rx * side, (canvas.hy[window] - cy) / ry
        u = u - 0.25 * v * (v < 0) * -1 + 0.25 * np.maximum(v, 0)
        field = u * u + v * v - 1
        cover = inside(field)
        fold = np.maximum(1 - np.abs(np.sqrt(field + 1) - 0.62) / 0.2, 0)
        colour = linear(face.skin) * linear((1.0, 0.93, 0.92)) * (1 - 0.4 * fold)
        kind, slope = "l_ear" if side > 0 else "r_ear", (u * side * 0.8, v * 0.3)
        canvas.paint(window, cover, colour, kind, gloss=0.1, flesh=1.0, slope=slope, shade=1.0)


def hair_shape(canvas: Canvas) -> tuple[SimpleNamespace, np.ndarray, np.ndarray]:
    """Return the style's numbers, the strand pattern (about -1..1) and the field negative within the hair's outline."""
    face = canvas.face
    top, beside, end, curl, drop, fringe = SHAPES[HAIR_STYLES[face.hair_style]]
    if face.hat:
        top, beside = 0.0, 0.4 * beside
    style = SimpleNamespace(
        end=end + 0.12 * (face.hair_length - 0.5) * (end > 0.2), drop=drop, fringe=fringe, curl=curl
    )
    x, y = canvas.hx, canvas.hy
    phase = float(face.seed % 628) / 100
    part = 0.07 * face.hair_part
    angle = np.arctan2(x - part, y + 0.46)
    ripple = curl * (0.6 * np.sin(y * 34 + phase + 9 * x) + 0.4 * np.sin(y * 61 - 17 * x))
    strands = np.sin(angle * 26 + phase + 1.6 * ripple + 2 * np.sin(angle * 7)) * 0.5 + 0.3 * np.sin(
        angle * 61 + 2.3 * ripple + phase
    )
    if curl > 0.9:
        strands = np.sin(x * 120 + 3 * np.sin(y * 47 + phase)) * np.sin(y * 120 + 3 * np.sin(x * 53 - phase))
    half = (face.face_width + beside * (0.75 + 0.5 * face.hair_volume)) * (1 + 0.5 * beside * np.clip(y + 0.1, 0, 0.5))
    up = np.maximum(-0.02 - y, 0) / (0.38 + 0.5 * face.forehead + top * (0.7 + 0.6 * face.hair_volume))
    field = np.square(x / half) + up * up * (0.7 + 0.3 * up * up) - 1 + 0.03 * (curl + 0.3) * strands
    below = (y - style.end - 0.02 * strands - 0.05 * np.abs(x) / half) * 6
    return style, strands, np.maximum(field, below)


def hair_layer(canvas: Canvas, cover: np.ndarray, strands: np.ndarray, dim: float = 1.0) -> None:
    """Paint hair of the strand pattern where `cover` is."""
    face = canvas.face
    x, y = canvas.hx, canvas.hy
    radius = np.sqrt(x * x + np.square(y + 0.02))
    shine = dome((radius - 0.33 - 0.02 * strands) / 0.07) * smooth(0.1, -0.2, y)
    colour = linear(face.hair) * (dim * (1 + 0.42 * strands)) + 0.012 * dim * shine
    slope = (x * 2.6 + 0.15 * strands, y * 1.5)
    canvas.paint(WHOLE, cover, colour * (1 + 0.9 * shine), "hair", gloss=0.16, flesh=0.1, slope=slope, shade=1.0)


def hair_front(
    canvas: Canvas, style: SimpleNamespace, strands: np.ndarray, field: np.ndarray, head: np.ndarray
) -> None:
    """Paint the hair that lies before the forehead and beside the face, and its shadow on the skin."""
    face = canvas.face
    x, y = canvas.x, canvas.y
    line = -0.272 + face.forehead - 0.02 * (face.hair_style == HAIR_STYLES.index("receding"))
    t = x / (face.face_width - (0.022 if style.drop < 0.3 else 0.004))
    side = 1.0 if face.hair_part > 0 else -1.0
    sweep = style.fringe * (1 - 0.35 * np.square(t - side * 0.3) if style.fringe > 0.08 else 1 - side * t)
    if style.fringe < 0:
        sweep = sweep - style.fringe * (np.abs(t) < 0.35) * (1 - np.square(t / 0.35))
    t2 = t * t
    parting = 0.03 * dome((t - side * 0.25) / 0.9) if style.fringe <= 0.08 else 0.0
    edge = line + style.drop * t2 * t2 + sweep - parting + 0.008 * strands + 0.004 * np.sin(x * 330 + 2 * strands)
    front = np.maximum(field, np.minimum(y, 0.06) - edge)
    cover = inside(front)
    shadow = smooth(0.05, 0.0, y - edge) * (head < 0) * (1 - cover)
    canvas.darken(WHOLE, 0.4 * shadow)
    hair_layer(canvas, cover, strands)
    canvas.darken(WHOLE, cover * 0.3 * smooth(-0.03, 0.0, y - edge))


def bun(canvas: Canvas, strands: np.ndarray) -> None:
    """Paint a knot of hair on top of the head."""
    v = (canvas.hy + 0.43) / 0.075
    u = (canvas.hx - 0.03 * canvas.face.hair_part) / 0.1
    hair_layer(canvas, inside(u * u + v * v - 1), np.sin(np.arctan2(v, u) * 9 + 5 * strands), 0.85)


def glasses(canvas: Canvas, g: SimpleNamespace) -> None:
    """Paint spectacles (round, square or dark); lenses and frame are class eye_g, eyes and brows keep theirs."""
    face = canvas.face
    window = canvas.window(0, g.eye_y, 0.27, 0.09)
    x, y = canvas.x[window], canvas.y[window]
    u, v = np.abs(x) - g.eye_x, y + 0.026
    if face.glasses == 1:
        ring = np.sqrt(u * u + v * v) - 0.07
    else:
        ring = np.power(np.square(u / 0.079) ** 2 + np.square(v / 0.058) ** 2, 0.25) * 0.066 - 0.066
    wire = 0.006 if face.glasses == 1 else 0.0085
    bridge = np.maximum(np.abs(y + 0.034 - 4 * x * x) - wire * 0.8, np.abs(x) - g.eye_x + 0.068)
    temple = np.maximum(
        np.abs(y + 0.036 - 0.05 * np.abs(x)) - wire * 0.9,
        np.maximum(g.eye_x + 0.068 - np.abs(x), np.abs(x) - face.face_width),
    )
    frame = inside(np.minimum(np.minimum(np.abs(ring) - wire, bridge), temple))
    lens = inside(ring)
    glare = lens * dome((u - v * 0.6 - 0.02) / 0.018) * 0.25
    colour = linear(face.glasses_colour)
    canvas.darken(window, 0.25 * inside(np.abs(ring - 0.004) - wire * 1.6) * (1 - frame))
    if face.glasses == 3:
        canvas.paint(window, lens * 0.5, linear((0.16, 0.12, 0.1)), gloss=0.4)
    canvas.paint(window, glare, linear((1.0, 1.0, 1.0)))
    keep = canvas.kind[window].copy()
    canvas.paint(window, frame, colour, gloss=0.25, flesh=0.0, slope=(3 * u, 3 * v), shade=1.0)
    canvas.kind[window] = np.where((np.maximum(lens, frame) > 0.5) & ((keep < 4) | (keep > 7)), 3, keep)


def hat(canvas: Canvas) -> None:
    """Paint a beanie, a cap or a brimmed hat."""
    face = canvas.face
    x, y = canvas.hx, canvas.hy
    colour = linear(face.hat_colour)
    rim_y = -0.225 + 0.3 * x * x - 0.1 * face.pitch
    half = face.face_width + 0.035
    up = np.maximum(-0.12 - y, 0) / 0.37
    cover = inside(np.maximum(np.square(x / half) + up * up * up - 1, (y - rim_y) * 6))
    below = y - rim_y - (0.03 if face.hat > 1 else 0)
    canvas.darken(WHOLE, 0.5 * smooth(0.1, 0.0, below) * (below > 0) * (canvas.kind > 0))
    bend = x / half
    ribs = np.sin(np.arcsin(np.clip(bend, -1, 1)) * 46)
    knit = 1 + (0.12 * ribs if face.hat == 1 else 0.04 * np.sin(x * 9 + y * 30))
    slope = (bend * (0.5 + 0.9 * bend * bend), (y + 0.3) * 2.2)
    canvas.paint(WHOLE, cover, colour * knit, "hat", gloss=0.04, flesh=0.1, slope=slope, shade=1.0)
    edge = rim_y - (0.075, 0.0, 0.055)[face.hat - 1]
    if face.hat == 1:
        canvas.darken(WHOLE, cover * 0.4 * smooth(0.025, 0.0, np.abs(y - edge + 0.012)))
        return
    if face.hat == 2:
        seam = np.maximum(1 - np.abs(x - 0.3 * (y + 0.5) * face.yaw) / 0.006, 0)
        canvas.darken(WHOLE, cover * 0.25 * seam)
        u, v = x / (0.9 * half), (y - rim_y + 0.02 + 0.5 * x * x) / 0.075
    else:
        canvas.darken(WHOLE, cover * 0.6 * inside(edge - y))
        u, v = x / 0.46, (y - rim_y) / 0.062
    bill = inside(np.maximum(u * u + v * v - 1, (-v - (0.12 if face.hat == 2 else 1)) * 2))
    canvas.darken(WHOLE, cover * 0.4 * smooth(1.6, 1.0, u * u + v * v))
    slope = (0.5 * u, -0.35 + 0.75 * v)
    canvas.paint(WHOLE, bill, colour * 0.92, "hat", gloss=0.06, flesh=0.1, slope=slope, shade=1.0)


def jewels(canvas: Canvas) -> None:
    """Paint earrings (studs, drops or hoops) and a necklace (chain or beads)."""
    face = canvas.face
    metal = linear(face.metal)
    for side in (-1, 1) if face.earring else ():
        cx, cy = side * (face.face_width + 0.012) - 0.06 * face.yaw, 0.05 + 0.085 * face.ears + 0.005
        radius = (0.017, 0.019, 0.036)[face.earring - 1]
        window: Window = canvas.window(cx, cy + radius, 0.05, 0.09, surface=False)
        u, v = canvas.hx[window] - cx, canvas.hy[window] - cy - (0.0, 0.03, 0.034)[face.earring - 1]
        ball = np.sqrt(u * u + v * v * (0.45 if face.earring == 2 else 1.0))
        cover = inside(ball - radius if face.earring != 3 else np.abs(ball - radius) - 0.0085)
        canvas.paint(window, cover, metal, "ear_r", gloss=0.9, flesh=0.0, slope=(u * 30, v * 30), shade=1.0)
    if not face.necklace:
        return
    x, y = canvas.hx, canvas.hy
    hang = 0.458 - 2.2 * x * x
    width = 0.0085 if face.necklace == 1 else 0.0125
    beads = 1.0 if face.necklace == 1 else 0.75 + 0.25 * np.cos(x * 210)
    cover = inside(np.maximum((np.abs(y - hang) - width * beads) / (1 + 2 * np.abs(x)), np.abs(x) - 0.165))
    canvas.darken(WHOLE, 0.35 * np.maximum(1 - np.abs(y - hang - 0.014) / 0.014, 0) * (np.abs(x) < 0.165))
    slope = (x * 2 + 0.5 * np.sin(x * 210), (y - hang) * 50)
    canvas.paint(WHOLE, cover, metal, "neck_l", gloss=0.8, flesh=0.0, slope=slope, shade=1.0)
