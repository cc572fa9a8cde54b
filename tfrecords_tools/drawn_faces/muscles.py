"""What action units do: the positions of lids, brows, nose, lips and jaw of one face, and the depth of its folds."""

from types import SimpleNamespace

import numpy as np

from seghgan_tf.expressions import AUS, MAX_INTENSITY


def contract(face: SimpleNamespace, aus: np.ndarray) -> SimpleNamespace:
    """Return the geometry of `face` at action units `aus` (17 values 0..5); lengths are fractions of the image's side."""
    strength = np.clip(np.asarray(aus, np.float64) / MAX_INTENSITY, 0, 1) ** 0.75
    a = SimpleNamespace(**dict(zip(AUS, strength.tolist(), strict=True)))
    g = SimpleNamespace(a=a, jaw_drop=0.05 * a.AU26)
    _eyes(face, a, g)
    _nose(face, a, g)
    _mouth(face, a, g)
    g.chin = face.face_length + g.jaw_drop - 0.012 * a.AU17
    return g


def _eyes(face: SimpleNamespace, a: SimpleNamespace, g: SimpleNamespace) -> None:
    g.eye_x, g.eye_y = face.eye_distance, -0.03
    g.eye_half = 0.055 * face.eye_size
    upper, lower = 0.0285 * face.eye_size * face.eye_open, 0.0145 * face.eye_size
    upper *= 1 + 0.75 * a.AU05 - 0.4 * a.AU07 - 0.12 * a.AU06 - 0.16 * a.AU04 - 0.15 * a.AU09
    lower *= 1 + 0.35 * a.AU05 - 1.0 * a.AU07 - 0.75 * a.AU06 - 0.3 * a.AU09 - 0.15 * a.AU12
    shut = min(1.0, 1.15 * a.AU45)
    lower += shut * (0.0125 - lower)
    g.lid_upper, g.lid_lower = upper + shut * (-lower - upper), lower
    g.shut = shut
    g.crease = 0.0125 + 0.004 * face.lid_crease + 0.012 * shut - 0.006 * a.AU05 - 0.005 * a.AU04
    g.brow_x, g.brow_y = face.eye_distance + 0.006 - 0.013 * a.AU04, -0.099 - face.brow_height
    g.brow_half = 0.064
    g.brow_inner = -0.048 * a.AU01 + 0.036 * a.AU04 + 0.016 * a.AU09
    g.brow_outer = -0.046 * a.AU02 + 0.014 * a.AU04 + 0.006 * a.AU06
    g.brow_middle = -0.014 * a.AU01 - 0.024 * a.AU02 + 0.024 * a.AU04 + 0.01 * a.AU09


def _nose(face: SimpleNamespace, a: SimpleNamespace, g: SimpleNamespace) -> None:
    g.nose_y = face.nose_length - 0.014 * a.AU09 - 0.004 * a.AU10 + 0.004 * a.AU26
    g.nose_half = 0.049 * face.nose_width * (1 + 0.13 * a.AU09 + 0.06 * a.AU10 + 0.08 * a.AU12)
    g.wing_y = g.nose_y - 0.024 - 0.012 * a.AU09 - 0.006 * a.AU10


def _mouth(face: SimpleNamespace, a: SimpleNamespace, g: SimpleNamespace) -> None:
    stretch = (
        1 + 0.3 * a.AU12 + 0.5 * a.AU20 + 0.16 * a.AU14 + 0.05 * a.AU15 - 0.2 * a.AU23 - 0.14 * a.AU26 - 0.07 * a.AU17
    )
    g.mouth_half = face.mouth_width * stretch
    g.mouth_y = face.mouth_height - 0.01 * a.AU17 - 0.006 * a.AU09 - 0.008 * a.AU12 + 0.012 * a.AU26
    g.corner = -0.048 * a.AU12 + 0.06 * a.AU15 + 0.006 * a.AU20 - 0.006 * a.AU14 + 0.012 * a.AU17
    thin = (1 - 0.68 * a.AU23) * (1 - 0.3 * a.AU12) * (1 - 0.34 * a.AU20) * (1 - 0.35 * a.AU14)
    g.upper_lip = 0.021 * face.upper_lip * thin * (1 - 0.18 * a.AU10) * (1 - 0.15 * a.AU09)
    g.lower_lip = 0.031 * face.lower_lip * thin * (1 + 0.22 * a.AU17) * (1 - 0.1 * a.AU26)
    g.upper_lip = max(g.upper_lip, 0.009)
    g.raise_upper = 0.024 * a.AU10 + 0.01 * a.AU09
    g.open_upper = 0.011 * a.AU25 + 0.008 * a.AU26 + 0.016 * a.AU10
    g.open_lower = 0.026 * a.AU25 + 0.088 * a.AU26
    if g.open_upper + g.open_lower < 1e-4:
        g.open_upper = g.open_lower = 0.0
    g.bow = -0.012 * a.AU17
