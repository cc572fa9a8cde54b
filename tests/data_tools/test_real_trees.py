"""The real faces beside the project convert to the last photo, and nothing of them is rejected."""

import csv
import os

import numpy as np
import pytest

from tests.data_tools import layouts
from tests.data_tools.test_readers import converted
from tfrecords_tools.actions import ActionTable

PEOPLE = 8
"""People of the London set whose faces are looked for."""


def units(source):
    return ActionTable(str(source / "aus.csv"), ("AU12", "AU25"), extractor="MediaPipe blendshapes times five")


def rows_with_a_face(source):
    with (source / "aus.csv").open(newline="") as stream:
        return sum(float(row["success"]) == 1 for row in csv.DictReader(stream, skipinitialspace=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inside", "photos", "count", "size"),
    [("CelebAMask-HQ", "CelebA-HQ-img", 200, 64), ("label_maps", "images", 600, None)],
)
def test_celebamask_as_shipped_and_as_label_maps(tmp_path, faces_folder, inside, photos, count, size):
    source = faces_folder / "celebamask" / inside
    description, found = converted("celebamask", source, tmp_path / "out", size, actions=units(source))
    assert description["rejected"] == description["excluded"] == []
    assert not (tmp_path / "out" / "rejected.csv").exists()
    assert description["examples"] == description["masks"] == len(found) == count
    assert description["with_units"] == rows_with_a_face(source)
    assert sum(n for text, n in description["joins"].items() if text.startswith("action units: photos")) == count
    assert 0.2 < description["class_frequency"]["skin"] < 0.6
    for image_id, (_, face) in found.items():
        assert (face.height, face.width) == (size or 512,) * 2
        if size is None:
            path = source / photos / f"{image_id.removeprefix('celebamask-')}.jpg"
            assert face.image == path.read_bytes(), "a photo that fits keeps its bytes"
    some = next(iter(found.values()))[1]
    assert layouts.decoded(some.mask).shape == (some.height, some.width)


@pytest.mark.slow
def test_all_of_the_london_set(tmp_path, faces_folder):
    source = faces_folder / "london"
    photos = sum(len(list((source / name).glob("*.jpg"))) for name in ("neutral_front", "smiling_front"))
    description, found = converted("london", source, tmp_path / "out", 64, actions=units(source), test=0.2)
    assert description["rejected"] == []
    assert description["examples"] == len(found) == photos
    assert description["with_units"] == rows_with_a_face(source)
    assert set(description["labels"]) == {"neutral", "happy"}
    people = {}
    for split, face in found.values():
        people.setdefault(face.subject_id, set()).add(split)
    assert all(len(splits) == 1 for splits in people.values())


@pytest.mark.slow
def test_people_of_the_london_set_come_to_one_frame_by_hand_placed_and_by_found_landmarks(tmp_path, faces_folder):
    source = tmp_path / "in"
    for inside in ("neutral_front", "smiling_front"):
        (source / inside).mkdir(parents=True)
        files = sorted(os.listdir(faces_folder / "london" / inside))
        people = sorted({name.split("_")[0] for name in files})[:PEOPLE]
        for name in files:
            if name.split("_")[0] in people:
                (source / inside / name).symlink_to(faces_folder / "london" / inside / name)
    description, found = converted("london", source, tmp_path / "out", 64, "landmarks", validation=0, test=0)
    assert description["rejected"] == []
    assert len(found) == 2 * PEOPLE
    frames = {}
    for image_id, (_, face) in found.items():
        frames.setdefault(face.subject_id, {})[image_id[-2:]] = np.reshape(face.alignment, (2, 3))
    for person, frame in frames.items():
        corners = [matrix @ (337, 337, 1) for matrix in frame.values()]
        assert np.abs(corners[0] - corners[-1]).max() < 8, f"{person}: both photos show the head in one place"
