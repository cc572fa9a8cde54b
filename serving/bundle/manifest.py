"""What travels beside a SavedModel: the manifest with its hashes, and the requests that warm a server up."""

import datetime
import hashlib
import importlib.metadata
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving import signature as contract

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
BATCH_SIZES = (1, 2, 4, 8)
"""Batch sizes that are warmed up."""

_MODEL_KEYS = ("image_size", "regions", "classes", "label_order", "expression", "max_pixels")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ValueError(
                f"An export must not hold symbolic links. Received: {path.relative_to(folder)} in {folder}"
            )
        if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST:
            yield path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_version() -> str:
    try:
        return importlib.metadata.version("seghgan-tf")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def write_manifest(folder: Path | str, model: dict[str, Any], training: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write `manifest.json` for the SavedModel in `folder`, last of all its files, and return it.

    `model` describes sizes, regions, classes and the expression space; `training` is free. ValueError where a key of
    `model` is missing.
    """
    folder = Path(folder)
    if missing := [key for key in _MODEL_KEYS if key not in model]:
        raise ValueError(f"`model` must have the keys {list(_MODEL_KEYS)}. Received: no {missing}")
    graph = contract.read_graph(folder)
    found = contract.graph_signatures(graph)

    def sides(specs: dict[str, contract.Spec]) -> dict[str, Any]:
        return {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in specs.items()}

    manifest = {
        "manifest_version": MANIFEST_VERSION,
        "package": "seghgan-tf",
        "package_version": _package_version(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": model,
        "signatures": {
            name: {"inputs": sides(one.inputs), "outputs": sides(one.outputs)} for name, one in found.items()
        },
        "ops": contract.graph_ops(graph),
        "training": training or {},
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in _files(folder)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """Read and check the form of `manifest.json`; ValueError where it is missing, unreadable or of another version."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"An export must hold a readable {MANIFEST} ({error}); make the export again with `seghgan export`. Received: {path.parent}"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("manifest_version") != MANIFEST_VERSION:
        raise ValueError(f"{MANIFEST} must be of manifest_version {MANIFEST_VERSION}. Received: {path.parent}")
    model, files = manifest.get("model"), manifest.get("files")
    if not isinstance(model, dict) or any(key not in model for key in _MODEL_KEYS):
        raise ValueError(f"{MANIFEST} must describe the model ({list(_MODEL_KEYS)}). Received: {path.parent}")
    size, expression = model["image_size"], model["expression"]
    sound = isinstance(size, int) and isinstance(expression, dict) and isinstance(expression.get("labels"), list)
    if not sound or not isinstance(model["regions"], list) or not isinstance(manifest.get("ops"), list):
        raise ValueError(
            f"{MANIFEST} must give sizes, regions, operations and the expression's labels. Received: {path.parent}"
        )
    if not isinstance(files, dict) or not files or not all(isinstance(value, str) for value in files.values()):
        raise ValueError(f"{MANIFEST} must list the files with their SHA-256. Received: {path.parent}")
    return manifest


def verify(folder: Path | str) -> dict[str, Any]:
    """Return the manifest of the export in `folder` once every file agrees with it.

    ValueError where a file is missing, changed or not listed, a listed name leaves the folder, or a link is found.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    listed: dict[str, str] = manifest["files"]
    for name in listed:
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or "\\" in name or not parts:
            raise ValueError(f"{MANIFEST} must name files inside the export. Received: {name!r}")
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    if missing := sorted(set(listed) - set(found)):
        raise ValueError(f"The export lacks {missing}; copy it again. Received: {folder}")
    if extra := sorted(set(found) - set(listed)):
        raise ValueError(f"The export holds files that {MANIFEST} does not list: {extra}. Received: {folder}")
    for name, path in found.items():
        if sha256(path) != listed[name]:
            raise ValueError(
                f"{name} does not have the SHA-256 that {MANIFEST} lists; copy the export again. Received: {folder}"
            )
    return manifest


def _photo(side: int, kind: str) -> bytes:
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:side, 0:side] * 255 // side
    picture = np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def _warmup_value(name: str, spec: contract.Spec, batch: int, side: int) -> Any:
    """Return a TensorProto; numbers are one value that fills the shape, so that the file stays small."""
    import tensorflow as tf

    proto = tf.make_tensor_proto(b"")
    if spec.dtype == "bytes":
        photos = [_photo(2 * side, "JPEG"), _photo(2 * side, "PNG")]
        return tf.make_tensor_proto([photos[i % 2] for i in range(batch)], tf.string)
    proto = tf.make_tensor_proto(0, tf.as_dtype(spec.dtype))
    shape = [batch, *(dim or 1 for dim in spec.shape[1:])]
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    values = {"image": 127.0 if spec.dtype == "uint8" else 0.1, "regions": 1.0, "jpeg_quality": 90.0}
    fill = values.get(name, 0.5)
    proto.ClearField("float_val")
    proto.ClearField("int_val")
    if spec.dtype == "float32":
        proto.float_val.append(fill)
    else:
        proto.int_val.append(int(fill))
    return proto


def write_warmup(folder: Path | str, model: dict[str, Any]) -> Path:
    """Write warmup requests for every signature and batch size to `assets.extra`, and return their file.

    TensorFlow Serving and the embedded server replay them before a version is available.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = Path(folder) / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    side = model["image_size"]
    expected = contract.signatures(side, len(model["expression"]["labels"]), len(model["regions"]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in expected.items():
            for batch in BATCH_SIZES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "seghgan"
                request.model_spec.signature_name = name
                for key, spec in signature.inputs.items():
                    request.inputs[key].CopyFrom(_warmup_value(key, spec, batch, side))
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())
    return path


def read_warmup(folder: Path | str) -> list[Any]:
    """Return the warmup PredictRequests of an export, none where it has no file; ValueError where the file is broken."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    path = Path(folder) / WARMUP
    if not path.exists():
        return []
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    except (tf.errors.OpError, DecodeError) as error:
        raise ValueError(f"{WARMUP} must hold PredictionLog records. Received: {path} ({error})") from error
    if wrong := [log.WhichOneof("log_type") for log in logs if log.WhichOneof("log_type") != "predict_log"]:
        raise ValueError(f"{WARMUP} must hold Predict requests only. Received: {wrong[0]}")
    return [log.predict_log.request for log in logs]
