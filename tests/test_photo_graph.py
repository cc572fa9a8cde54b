"""A photo is edited inside its face's square alone, at its own size, in bounded memory; faces are found in the whole photo."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import data

from seghgan_tf import frames, photo_graph
from seghgan_tf.detector import MAX_FACES, Detector
from seghgan_tf.photos import MAX_PIXELS
from serving.server.memory import edit_bytes
from tests.conftest import ROOT

SIZE = 32
IDENTITY = np.array([1, 0, 0, 0, 0, 0], np.float32)
UPRIGHT = np.array([[0.5, 0, -10], [0, 0.5, -5]], np.float32)
TURNED = np.array([[0.3, -0.2, 0], [0.2, 0.3, -20]], np.float32)
LARGE = np.array([[0.1, 0, 0], [0, 0.1, 0]], np.float32)


def picture(height=120, width=100, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height=240, width=200):
    y, x = np.mgrid[:height, :width]
    return np.stack([60 + 60 * np.sin(x / 17), 128 + 90 * np.cos(y / 23), 90 + 0.3 * x + 0.2 * y], -1).astype(np.uint8)


def field(value):
    return np.broadcast_to(np.float32(value), (SIZE, SIZE, 6)).copy()


def edited(photo, frame, value):
    where = photo_graph.place(tf.constant(frame), tf.constant(photo), SIZE)
    return photo_graph.edited(tf.constant(photo), where, tf.constant(value)).numpy()


def inside(photo, frame, border=0.0):
    """Return which pixels (H, W) lie in the frame's square, at least `border` of its side from its edge."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] + 0.5
    u, v = (row[0] * x + row[1] * y + row[2] for row in frame)
    return (np.minimum(np.minimum(u, SIZE - u), np.minimum(v, SIZE - v))) > border * SIZE


@pytest.mark.parametrize("frame", [UPRIGHT, TURNED, LARGE])
def test_the_identity_returns_every_pixel(frame):
    photo = picture()
    np.testing.assert_array_equal(edited(photo, frame, field(IDENTITY)), photo)


@pytest.mark.parametrize("frame", [UPRIGHT, TURNED, LARGE])
def test_only_the_square_changes_and_all_of_it_but_its_border(frame, monkeypatch):
    monkeypatch.setattr(photo_graph, "BAND", 500)
    photo = picture()
    painted = edited(photo, frame, field([0, 0, 0, 1, 1, 1]))
    np.testing.assert_array_equal(painted[~inside(photo, frame)], photo[~inside(photo, frame)])
    assert (painted[inside(photo, frame, photo_graph.FADE)] == 255).all()
    fading = inside(photo, frame) & ~inside(photo, frame, photo_graph.FADE / 2)
    assert (painted[fading] >= photo[fading]).all()
    assert (painted[fading] < 255).any()


def test_a_flow_moves_the_photo_by_shares_of_the_square():
    photo = picture()
    moved = edited(photo, UPRIGHT, field([1, 4 / 64, -6 / 64, 0, 0, 0]))
    middle = inside(photo, UPRIGHT, photo_graph.FADE + 1 / SIZE)
    y, x = np.nonzero(middle)
    np.testing.assert_array_equal(moved[y, x], photo[y + 4, x - 6])


def test_a_flow_turns_with_the_face():
    photo = smooth()
    quarter = np.array([[0, 0.5, -40], [-0.5, 0, 60]], np.float32)  # the face's right is the photo's down
    moved = edited(photo, quarter, field([1, 0, 4 / 64, 0, 0, 0]))
    y, x = np.nonzero(inside(photo, quarter, photo_graph.FADE + 1 / SIZE))
    assert len(y) > 500
    np.testing.assert_array_equal(moved[y, x], photo[y + 4, x])


def test_a_region_limit_leaves_a_large_photo_bit_equal_elsewhere():
    photo = picture(1500, 4000)
    limited = field(IDENTITY)
    limited[20:26, 10:22] = [0.3, 0.1, -0.05, 0.2, 0.1, 0.0]
    frame = np.array([[SIZE / 1400, 0, -SIZE / 2], [0, SIZE / 1400, 0]], np.float32)
    changed = (edited(photo, frame, limited) != photo).any(-1)
    y, x = np.nonzero(changed)
    assert len(y) > 10_000
    u, v = (x + 0.5) * frame[0, 0] + frame[0, 2], (y + 0.5) * frame[1, 1]
    assert u.min() > 9.4
    assert u.max() < 22.6
    assert v.min() > 19.4
    assert v.max() < 26.6


@pytest.mark.parametrize(
    "frame", [UPRIGHT, TURNED, np.array([[0.16, 0, 0], [0, 0.16, 0]]), np.array([[2.0, 0.3, -90], [-0.3, 2.0, -99]])]
)
def test_the_square_is_that_of_the_training_data(frame):
    photo = smooth()
    where = photo_graph.place(tf.constant(frame, tf.float32), tf.constant(photo), SIZE)
    ours = (photo_graph.square(tf.constant(photo), where).numpy() + 1) * 127.5
    theirs = np.asarray(frames.warp(Image.fromarray(photo), np.asarray(frame, np.float64), SIZE), np.float32)
    assert np.abs(ours - theirs).mean() < 1.5
    assert np.abs(ours - theirs).max() < 16


def test_the_square_of_a_photo_of_its_size_is_the_photo():
    photo = picture(SIZE, SIZE)
    where = photo_graph.place(tf.constant([[1.0, 0, 0], [0, 1.0, 0]]), tf.constant(photo), SIZE)
    np.testing.assert_allclose(photo_graph.square(tf.constant(photo), where), photo / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ([[0.0, 0, 1], [0, 0.0, 0]], "take the photo"),
        ([[1.0, 0, np.inf], [0, 1.0, 0]], "take the photo"),
        ([[1.0, 0, -900], [0, 1.0, 0]], "lie in the photo"),
    ],
)
def test_a_frame_that_is_none_is_refused(frame, words):
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        photo_graph.place(tf.constant(frame), tf.constant(picture()), SIZE)


def test_only_a_frame_that_is_given_counts():
    assert photo_graph.is_given(tf.constant(UPRIGHT))
    assert not photo_graph.is_given(tf.zeros((2, 3)))
    assert not photo_graph.is_given(tf.fill((2, 3), np.nan))


@pytest.fixture(scope="module")
def detect():
    detector = Detector()
    return tf.function(detector.__call__, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])


@pytest.mark.parametrize(("turn", "scale"), [(0, 1.0), (20, 1.0), (-15, 0.5), (0, 2.5)])
def test_the_astronaut_is_found_wherever_she_is(detect, turn, scale):
    photo = Image.fromarray(data.astronaut()).rotate(turn, Image.Resampling.BICUBIC, center=(226, 110))
    photo = photo.resize([round(side * scale) for side in photo.size])
    faces = detect(np.asarray(photo))
    assert faces.boxes.shape == (MAX_FACES, 4)
    assert np.count_nonzero(faces.scores) == 1
    frame = photo_graph.frames_of(faces, 100).numpy()
    assert (frame[1:] == 0).all()
    angle = np.deg2rad(turn)
    away = np.array([[204, 101], [246, 103], [225, 127]]) - (226, 110)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    eyes_and_nose = (away @ rotation.T + (226, 110)) * scale
    landed = eyes_and_nose @ frame[0, :, :2].T + frame[0, :, 2]
    np.testing.assert_allclose(landed, 100 * np.array(frames.FRAME[:3]), atol=6)


def test_several_faces_come_largest_first_and_none_from_noise(detect):
    face = Image.fromarray(data.astronaut()).crop((150, 20, 310, 220))
    canvas = Image.new("RGB", (700, 400), "grey")
    for width, place in ((80, (20, 30)), (240, (400, 60)), (120, (180, 150))):
        canvas.paste(face.resize((width, width * 5 // 4)), place)
    faces = detect(np.asarray(canvas))
    boxes = faces.boxes.numpy()[faces.scores.numpy() > 0]
    assert [int((box[0] + box[2]) / 2 // 175) for box in boxes] == [2, 1, 0]
    assert np.count_nonzero(detect(picture(300, 300)).scores) == 0


MEMORY = """
import resource, sys
import numpy as np, tensorflow as tf
from seghgan_tf import photo_graph

@tf.function(input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec((2, 3)), tf.TensorSpec((32, 32, 6))])
def edit(encoded, frame, field):
    photo = photo_graph.decode(encoded)
    where = photo_graph.place(frame, photo, 32)
    field += 0.0 * tf.reduce_mean(photo_graph.square(photo, where))
    return photo_graph.encode(photo_graph.edited(photo, where, field), tf.constant(90))

def run(width, height):
    flat = tf.io.encode_jpeg(np.full((height, width, 3), 90, np.uint8))
    side = min(width, height)
    return edit(flat, [[32 / side, 0, 0], [0, 32 / side, 0]], np.full((32, 32, 6), 0.1, np.float32))

run(100, 100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]), used + int(sys.argv[1])))
run(8192, 8192)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_the_largest_photo_costs_four_times_its_pixels_at_most():
    bound = edit_bytes(MAX_PIXELS)
    command = [sys.executable, "-c", MEMORY, str(bound + (64 << 20))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) <= bound
