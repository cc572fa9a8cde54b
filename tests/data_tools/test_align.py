"""Alignment brings five landmarks to one frame, moves masks with photos, and can be undone."""

import shutil

import numpy as np
import pytest
from PIL import Image
from skimage import data

from seghgan_tf import frames
from seghgan_tf.data.folder import Tally
from seghgan_tf.photos import Rejected
from tests.data_tools import layouts
from tests.data_tools.test_readers import reasons, records
from tfrecords_tools import align
from tfrecords_tools.convert.conversion import Conversion
from tfrecords_tools.convert.run import convert
from tfrecords_tools.faces import Picturing, make_faces
from tfrecords_tools.photo import Photo, Reason
from tfrecords_tools.validate import validate

FRAME = np.array(frames.FRAME)


def moved(places, angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return places @ turn.T + shift


@pytest.mark.parametrize(
    ("angle", "scale", "shift"), [(0, 300, (5, 9)), (0.4, 120, (90, -40)), (-2.5, 900, (700, 800))]
)
def test_a_similarity_is_recovered_exactly_from_moved_landmarks(angle, scale, shift):
    matrix = frames.similarity(tuple(moved(FRAME, angle, scale, shift).ravel()), 128)
    back = moved(FRAME, angle, scale, shift) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, 128 * FRAME, atol=1e-9)
    np.testing.assert_allclose(np.hypot(matrix[0, 0], matrix[1, 0]), 128 / scale)


def test_it_is_never_a_mirror_image():
    mirrored = FRAME * (-100, 100)
    matrix = frames.similarity(tuple(mirrored.ravel()), 64)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_a_margin_shrinks_the_face_about_the_middle():
    frame = tuple((100 * FRAME).ravel())
    matrix = frames.similarity(frame, 100, margin=0.5)
    np.testing.assert_allclose(matrix, [[0.5, 0, 25], [0, 0.5, 25]], atol=1e-9)


def test_landmarks_in_one_place_are_an_error():
    with pytest.raises(ValueError, match="different places"):
        frames.similarity((3.0, 4.0) * 5, 64)


def test_warping_by_a_shift_moves_whole_pixels_and_mirrors_the_border():
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    matrix = np.array([[1.0, 0, 4], [0, 1.0, -3]])
    result = np.asarray(frames.warp(Image.fromarray(image), matrix, 30))
    np.testing.assert_array_equal(result[:, 4:], image[3:33, :26])
    np.testing.assert_array_equal(result[:, :4], image[3:33, :4][:, ::-1])


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    result = np.asarray(frames.warp(Image.fromarray(stripes), np.array([[0.25, 0, 0], [0, 0.25, 0]]), 32))
    assert np.abs(result.astype(int) - 127).max() <= 2


def test_masks_keep_their_ids_and_stay_in_register_with_the_photo():
    mask = np.zeros((80, 80), np.uint8)
    mask[20:50, 30:60] = 11
    image = np.repeat((mask == 11)[..., None] * np.uint8(255), 3, -1)
    matrix = frames.similarity(tuple(moved(FRAME, 0.3, 70, (2, 5)).ravel()), 64)
    warped = frames.warp_mask(mask, matrix, 64)
    assert set(np.unique(warped)) == {0, 11}
    lit = np.asarray(frames.warp(Image.fromarray(image), matrix, 64))[..., 0] > 127
    assert ((warped == 11) != lit).mean() < 0.02


def test_an_edit_can_be_pasted_back_by_the_matrix_of_the_record(tmp_path):
    image = layouts.drawn(1, 200)[0][0]
    path = layouts.save_png(tmp_path / "a.png", image)
    points = tuple(moved(FRAME, 0.2, 150, (30, 10)).ravel())
    photo = Photo("a", str(path), "a.png", points=points)
    (face,) = make_faces(photo, Picturing(150, "landmarks", jpeg_quality=0), "test", Tally())
    matrix = np.array(face.alignment).reshape(2, 3)
    pasted = Image.fromarray(layouts.decoded(face.image)).transform(
        (200, 200), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BICUBIC
    )
    inside = np.asarray(
        Image.new("L", (150, 150), 255).transform((200, 200), Image.Transform.AFFINE, tuple(matrix.ravel()))
    )
    middle = np.asarray(Image.fromarray(inside).resize((200, 200))) > 0
    error = np.abs(np.asarray(pasted).astype(int) - image)[middle].mean()
    assert error < 3


def test_a_photo_that_lies_in_the_frame_keeps_its_bytes(tmp_path):
    path = layouts.save_jpeg(tmp_path / "a.jpg", layouts.drawn(1)[0][0])
    nearly = tuple((64 * FRAME + 0.2).ravel())
    (face,) = make_faces(Photo("a", str(path), "a.jpg", points=nearly), Picturing(64, "landmarks"), "test", Tally())
    assert face.image == path.read_bytes()
    assert face.alignment is None
    off = tuple((64 * FRAME + 3).ravel())
    (face,) = make_faces(Photo("a", str(path), "a.jpg", points=off), Picturing(64, "landmarks"), "test", Tally())
    assert face.image != path.read_bytes()
    assert face.alignment[2] == pytest.approx(-3, abs=0.01)


def test_without_alignment_the_central_square_is_taken(tmp_path):
    wide = np.zeros((64, 96, 3), np.uint8)
    wide[:, 16:80] = layouts.drawn(1)[0][0]
    path = layouts.save_png(tmp_path / "a.png", wide)
    (face,) = make_faces(Photo("a", str(path), "a.png"), Picturing(64, jpeg_quality=0), "test", Tally())
    np.testing.assert_array_equal(layouts.decoded(face.image), layouts.drawn(1)[0][0])
    assert face.alignment == (1.0, 0.0, -16.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"align": "mtcnn"}, "size"), ({"align": "eyes"}, "align"), ({"size": 8}, "size"), ({"margin": 3.0}, "margin"),
        ({"jpeg_quality": 101}, "jpeg_quality"), ({"max_pixels": 0}, "max_pixels"), ({"faces": "some"}, "faces"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=f"`{words}` must"):
        Picturing(**options)


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory):
    """A photo of the astronaut twice, at the right larger."""
    astronaut = Image.fromarray(data.astronaut()).crop((140, 0, 310, 200))
    both = Image.new("RGB", (400, 260), "white")
    both.paste(astronaut.resize((119, 140)), (10, 60))
    both.paste(astronaut.resize((204, 240)), (180, 10))
    path = tmp_path_factory.mktemp("faces") / "both.png"
    both.save(path)
    return path


def test_mtcnn_finds_faces_and_the_largest_comes_first(two_faces):
    photo = Photo("both", str(two_faces), "both.png", subject_id="ann", label=1)
    (largest,) = make_faces(photo, Picturing(64, "mtcnn"), "test", Tally())
    matrix = np.array(largest.alignment).reshape(2, 3)
    middle = np.linalg.solve(matrix[:, :2], 64 * FRAME[:2].mean(0) - matrix[:, 2])
    assert middle[0] > 180
    first, second = make_faces(photo, Picturing(64, "mtcnn", faces="all"), "test", Tally())
    assert first == largest
    assert (second.image_id, second.subject_id, second.label) == ("both#1", None, None)
    matrix = np.array(second.alignment).reshape(2, 3)
    assert np.linalg.solve(matrix[:, :2], 64 * FRAME[:2].mean(0) - matrix[:, 2])[0] < 129
    with pytest.raises(Rejected) as caught:
        make_faces(photo, Picturing(64, "mtcnn", faces="error"), "test", Tally())
    assert caught.value.reason == Reason.SEVERAL_FACES


@pytest.mark.parametrize(
    ("faces", "ids", "told"),
    [
        ("largest", ["both", "both#1", "other"], {}),
        ("all", ["both", "both#1", "other", "other#1"], {"duplicate_id": 1}),
        ("error", ["clear"], {"several_faces": 3}),
    ],
)
def test_several_faces_in_a_photo_give_records_whose_ids_are_their_own(tmp_path, two_faces, faces, ids, told):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        shutil.copyfile(two_faces, source / name)
    (source / "labels.csv").write_text("filename,id,label\na.png,both#1,sad\nb.png,both,happy\nc.png,other,happy\n")
    if faces == "error":
        with Image.open(two_faces) as both:
            both.crop((0, 0, both.width // 2, both.height)).save(source / "clear.png")
        with (source / "labels.csv").open("a") as table:
            table.write("clear.png,clear,happy\n")
    description = convert(Conversion("folder", str(source), Picturing(64, "mtcnn", faces)), tmp_path / "out")
    found = records(tmp_path / "out")
    assert sorted(found) == ids
    assert reasons(description) == told
    assert validate(tmp_path / "out") == []
    if faces == "all":
        assert found["both"][0] == found["both#1"][0]
        assert (found["both"][1].label, found["both#1"][1].label) == (1, None)


def test_a_photo_without_a_face_is_rejected(tmp_path, two_faces):
    path = layouts.save_png(tmp_path / "sky.png", np.full((64, 64, 3), 120, np.uint8))
    with pytest.raises(Rejected) as caught:
        make_faces(Photo("sky", str(path), "sky.png"), Picturing(64, "mtcnn"), "test", Tally())
    assert caught.value.reason == Reason.NO_FACE


def test_mtcnn_and_the_hand_placed_landmarks_of_london_agree(faces_folder):
    from tfrecords_tools.readers.london import read_tem

    path = faces_folder / "london" / "neutral_front" / "004_03.jpg"
    by_hand = np.array(read_tem(path)).reshape(5, 2)
    with Image.open(path) as image:
        found = np.array(align.find_faces(image.convert("RGB"))[0]).reshape(5, 2)
    eyes = np.hypot(*(by_hand[1] - by_hand[0]))
    assert np.hypot(*(found - by_hand).T).max() < 0.12 * eyes
