"""Read the pictures that `portrait.py` wrote: smile, brows, lids and lips by landmarks, identity by a face network, closeness to the truth.

    VENV/bin/python benchmarks/portrait_read.py OUT

Needs mediapipe 0.10.14 (Apache 2.0; its wheel carries the face mesh), dlib-bin, face-recognition-models and scikit-image,
which took no part in training; the smiles' labels in training came from other networks of mediapipe's authors, so that dlib reads everything a second time.
All lengths are in distances of the outer corners of the eyes. A change is seen where the reading moved by more than
its threshold from the same person's photo.
"""

import argparse
import json
import statistics
from pathlib import Path

import dlib
import face_recognition_models
import mediapipe
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

POINTS = {
    "mediapipe": {
        "eyes": ((33, 159, 158, 133, 153, 145), (263, 386, 385, 362, 380, 374)), "brows": ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336)),
        "corners": (61, 291), "inner": ((13, 14), (82, 87), (312, 317)), "lips": (0, 17),
    },
    "dlib": {
        "eyes": ((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46)), "brows": ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22)),
        "corners": (48, 54), "inner": ((62, 66), (61, 67), (63, 65)), "lips": (51, 57),
    },
}  # fmt: skip
"""For each reader: eyes as outer corner, two of the upper lid, inner corner, two of the lower lid (below the second and the first); brows
from the temple to the nose; corners of the mouth; edges of the lips above each other; upper and lower rim of the lips in the middle."""

SEEN = {
    "smile": ("smile", 1, 0.5, 0.5), "open_smile": ("smile", 1, 0.5, 0.5), "neutral": ("smile", -1, 0.5, 0.5),
    "brows_up": ("brow", 1, 0.02, 0.02), "brows_down": ("brow", -1, -0.012, -0.012), "blink": ("lids", -1, 0.5, 0.85),
    "lips_apart": ("gap", 1, 0.04, 0.04), "jaw_drop": ("gap", 1, 0.06, 0.06), "happy": ("smile", 1, 0.5, 0.5),
}  # fmt: skip
"""For each edit which reading tells, whether it must lie above (1) or below (-1), and mediapipe's and dlib's threshold.

Smiles are absolute (0: photos of london, 1: their true smiles), lids a ratio to the photo's, the others differences to it. Of the true
pictures of four people mediapipe read brows .066 up and .023 down, lids .23 of the photo's, lips .13 apart; dlib .089, .030, .71, .094.
"""
AIMS = (
    ("smile seen", ("seen", "smile"), 1, 16), ("open smile seen", ("seen", "open_smile"), 1, 16), ("neutral seen", ("seen", "neutral"), 1, 16),
    ("smile reads at least as the true photos", ("smile", "smile"), 1, 1.0), ("identity of smile", ("identity", "smile"), -1, 0.28),
    ("identity of open smile", ("identity", "open_smile"), -1, 0.28), ("error ratio to the true smile", ("truth", "own_smile"), -1, 0.85),
    *((f"{key} seen", ("seen", key), 1, 12) for key in ("brows_up", "brows_down", "blink", "lips_apart")),
)  # fmt: skip
"""What is aimed at on 16 people of london, as mediapipe reads it: name, where the figure is, at least (1) or at most (-1), how much."""
MOUTH = slice(300, 430), slice(150, 360)
"""Rows and columns of the frame at 512 px where mouths lie."""
CLOSED = 0.03
"""A true smile whose lips part by less than this has a closed mouth."""
SMILE_WEIGHTS = (1.0, 2.0)
"""How much the mouth's width and the height of its corners count in a smile."""


class Readers:
    """The networks, loaded once."""

    def __init__(self) -> None:
        self.mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)
        self.find = dlib.get_frontal_face_detector()
        self.shape = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
        self.five = dlib.shape_predictor(face_recognition_models.pose_predictor_five_point_model_location())
        self.face = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())

    def points(self, image: np.ndarray) -> dict[str, np.ndarray | None]:
        """Return landmarks (N, 2) of each reader, None where it finds no face."""
        found = self.mesh.process(image).multi_face_landmarks
        side = np.array([image.shape[1], image.shape[0]])
        mesh = None if not found else np.array([(p.x, p.y) for p in found[0].landmark]) * side
        boxes = self.find(image, 1)
        shape = None
        if boxes:
            parts = self.shape(image, max(boxes, key=lambda box: box.area())).parts()
            shape = np.array([(p.x, p.y) for p in parts], float)
        return {"mediapipe": mesh, "dlib": shape}

    def identity(self, image: np.ndarray) -> np.ndarray | None:
        """Return the 128 numbers by which dlib knows a person."""
        boxes = self.find(image, 1)
        if not boxes:
            return None
        shape = self.five(image, max(boxes, key=lambda box: box.area()))
        return np.array(self.face.compute_face_descriptor(image, shape))


def measures(points: np.ndarray, reader: str) -> dict[str, float]:
    """Return brow height, lid opening (height by width), gap of the lips, and the mouth's width and lift of its corners."""
    at = POINTS[reader]
    outer = [points[eye[0]] for eye in at["eyes"]]
    across = outer[1] - outer[0]
    unit = float(np.hypot(*across))
    down = np.array([-across[1], across[0]]) / unit**2
    centres = [np.mean([points[eye[0]], points[eye[3]]], axis=0) for eye in at["eyes"]]
    brow = np.mean([(c - points[list(b)].mean(0)) @ down for c, b in zip(centres, at["brows"], strict=True)])
    lids = np.mean([
        np.mean([np.hypot(*(points[e[1]] - points[e[5]])), np.hypot(*(points[e[2]] - points[e[4]]))])
        / np.hypot(*(points[e[0]] - points[e[3]])) for e in at["eyes"]
    ])  # fmt: skip
    gap = np.mean([(points[low] - points[up]) @ down for up, low in at["inner"]])
    corners = points[list(at["corners"])]
    middle = points[list(at["lips"])].mean(0)
    width = float(np.hypot(*(corners[1] - corners[0]))) / unit
    lift = float((middle - corners.mean(0)) @ down)
    return {"brow": float(brow), "lids": float(lids), "gap": float(gap), "width": width, "lift": lift}


def main() -> None:
    """Read all, and write figures.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    entries = json.loads((out / "pictures.json").read_text())
    readers = Readers()
    for entry in entries:
        images = {key: np.asarray(Image.open(out / file)) for key, file in entry["files"].items()}
        entry["read"] = {key: _read(readers, image) for key, image in images.items()}
        known = {key: readers.identity(image) for key, image in images.items()}
        entry["identity"] = {
            key: None if known[key] is None or known["photo"] is None else float(np.linalg.norm(known[key] - known["photo"]))
            for key in images if key != "photo"
        }  # fmt: skip
        if "true_smile" in images:
            entry["truth"] = _closeness(images)
        print(entry["name"], flush=True)
    groups = _groups(entries)
    aims = _aims(groups["london"])
    (out / "figures.json").write_text(json.dumps({"aims": aims, "groups": groups, "people": entries}, indent=1))
    for aim in aims:
        print("reached" if aim["reached"] else "missed ", aim["aim"], aim["figure"], "wanted", aim["wanted"])


def _aims(group: dict) -> list[dict]:
    """Return each aim with its figure; an edit that the model cannot be asked for is missed."""
    found = []
    for name, (what, key), sign, wanted in AIMS:
        if what == "identity":
            figure = group["identity"].get(key)
        elif what == "truth":
            figure = group["truth"].get(key, {}).get("error_ratio")
        else:
            figure = group["readings"]["mediapipe"].get(key, {}).get(what)
        reached = figure is not None and sign * figure >= sign * wanted
        found.append({"aim": name, "figure": figure, "wanted": wanted, "reached": reached})
    return found


def _read(readers: Readers, image: np.ndarray) -> dict[str, dict[str, float] | None]:
    return {name: None if points is None else measures(points, name) for name, points in readers.points(image).items()}


def _closeness(images: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return SSIM to the true smile, and the mean absolute error against the photo's own (1: no better than no edit), at the mouth too."""
    true = images["true_smile"].astype(float)
    first = np.abs(images["photo"] - true)
    result = {}
    for key in ("photo", "own_smile", "smile", "open_smile", "happy"):
        if key in images:
            left = np.abs(images[key] - true)
            result[key] = {
                "ssim": float(structural_similarity(images[key], images["true_smile"], channel_axis=2)),
                "error_ratio": float(left.mean() / first.mean()),
                "mouth_error_ratio": float(left[MOUTH].mean() / first[MOUTH].mean()),
            }
    return result


def _groups(entries: list[dict]) -> dict[str, dict]:
    """Return the figures of each group; smiles are scaled so that the photos of london read 0 and their true smiles 1 in the median."""
    result = {}
    scale = {name: _smile_scale(entries, name) for name in POINTS}
    for group in sorted({entry["group"] for entry in entries}):
        own = [entry for entry in entries if entry["group"] == group]
        result[group] = {"people": len(own), "readings": {name: _seen(own, name, scale[name]) for name in POINTS}}
        keys = [key for key in own[0]["files"] if key != "photo"]
        result[group]["identity"] = {key: _median([e["identity"][key] for e in own]) for key in keys}
        if "truth" in own[0]:
            result[group]["truth"] = {
                key: {what: _median([e["truth"][key][what] for e in own]) for what in values}
                for key, values in own[0]["truth"].items()
            }
            result[group]["like_true"] = {name: _like_true(own, name, scale[name]) for name in POINTS}
            result[group]["by"] = _by(own, scale["mediapipe"])
    return result


def _like_true(entries: list[dict], reader: str, scale: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Return the median reading of true smiles with closed and with open lips, and of the edits of the same people that are to look so."""
    sides: dict[str, list[dict]] = {"closed": [], "open": []}
    for entry in entries:
        photo, true = (entry["read"][key][reader] for key in ("photo", "true_smile"))
        if photo and true:
            sides["closed" if true["gap"] - photo["gap"] < CLOSED else "open"].append(entry)
    pairs = (("closed", "smile"), ("open", "open_smile"), ("open", "happy"))
    return {
        edit: {"people": len(sides[side]), "true": _smile(sides[side], "true_smile", reader, scale), "edited": _smile(sides[side], edit, reader, scale)}
        for side, edit in pairs if edit in entries[0]["files"]
    }  # fmt: skip


def _smile(entries: list[dict], key: str, reader: str, scale: tuple[float, float]) -> float | None:
    reads = [entry["read"][key][reader] for entry in entries]
    return _median([(_raw_smile(read) - scale[0]) / (scale[1] - scale[0]) for read in reads if read])


def _by(entries: list[dict], scale: tuple[float, float]) -> dict[str, dict[str, dict[str, float]]]:
    """Return figures of the smile by what is known about the people: how many, its rise (mediapipe), identity, error at the mouth."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for what in entries[0].get("about", {}):
        for value in sorted({entry["about"][what] for entry in entries}):
            own = [entry for entry in entries if entry["about"][what] == value]
            reads = [(e["read"]["photo"]["mediapipe"], e["read"]["smile"]["mediapipe"]) for e in own]
            rises = [(_raw_smile(b) - _raw_smile(a)) / (scale[1] - scale[0]) for a, b in reads if a and b]
            result.setdefault(what, {})[value] = {
                "people": len(own),
                "rise": _median(rises),
                "identity": _median([e["identity"]["smile"] for e in own]),
                "mouth_error_ratio": _median([e["truth"]["smile"]["mouth_error_ratio"] for e in own]),
            }
    return result


def _raw_smile(read: dict[str, float]) -> float:
    return SMILE_WEIGHTS[0] * read["width"] + SMILE_WEIGHTS[1] * read["lift"]


def _smile_scale(entries: list[dict], reader: str) -> tuple[float, float]:
    pairs = [(e["read"]["photo"][reader], e["read"]["true_smile"][reader]) for e in entries if e["group"] == "london"]
    pairs = [pair for pair in pairs if None not in pair]
    return tuple(statistics.median(_raw_smile(pair[n]) for pair in pairs) for n in (0, 1))  # type: ignore[return-value]


def _seen(entries: list[dict], reader: str, scale: tuple[float, float]) -> dict[str, dict[str, float]]:
    """Return for each picture its median readings and on how many people its edit is seen."""
    result = {}
    for key in entries[0]["files"]:
        reads = [(e["read"][e["start"].get(key, "photo")][reader], e["read"][key][reader]) for e in entries]
        found = [(before, after) for before, after in reads if before and after]
        smiles = [(_raw_smile(after) - scale[0]) / (scale[1] - scale[0]) for _, after in found]
        values = {what: [after[what] - before[what] for before, after in found] for what in ("brow", "gap")}
        values |= {"lids": [after["lids"] / before["lids"] for before, after in found], "smile": smiles}
        result[key] = {"found": len(found), **{what: _median(value) for what, value in values.items()}}
        if key in SEEN:
            what, sign, *thresholds = SEEN[key]
            threshold = thresholds[list(POINTS).index(reader)]
            result[key]["seen"] = sum(sign * value > sign * threshold for value in values[what])
    return result


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


if __name__ == "__main__":
    main()
