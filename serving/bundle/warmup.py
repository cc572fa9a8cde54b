"""The requests that warm a server up: written beside a SavedModel, and read by whoever loads it."""

import io
from pathlib import Path
from typing import Any

from serving.bundle.graph import read_graph
from serving.signature import EXAMPLES, Spec, from_definitions

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
BATCH_SIZES = (1, 2, 4, 8)
"""Batch sizes that are warmed up."""


def _photo(side: int, kind: str) -> bytes:
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:side, 0:side] * 255 // side
    picture = np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def _warmup_value(name: str, spec: Spec, batch: int, side: int) -> Any:
    """Return a TensorProto; numbers are one value that fills the shape, so that the file stays small."""
    import numpy as np
    import tensorflow as tf

    if spec.dtype == "bytes":
        photos = [_photo(2 * side, "JPEG"), _photo(2 * side, "PNG")]
        return tf.make_tensor_proto([photos[i % 2] for i in range(batch)], tf.string)
    shape = [batch, *(dim or 1 for dim in spec.shape[1:])]
    if name == "frames":
        return tf.make_tensor_proto(np.full(shape, EXAMPLES[name], np.float32))
    proto = tf.make_tensor_proto(0, tf.as_dtype(spec.dtype))
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    fill = 127 if spec.dtype == "uint8" else EXAMPLES[name]
    proto.ClearField("float_val")
    proto.ClearField("int_val")
    if spec.dtype == "float32":
        proto.float_val.append(fill)
    else:
        proto.int_val.append(int(fill))
    return proto


def write_warmup(folder: Path | str, image_size: int) -> Path:
    """Write warmup requests for every signature of a SavedModel and every batch size to `assets.extra`; return their file.

    TensorFlow Serving and the embedded server replay them before a version is available.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = Path(folder) / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    found = from_definitions(read_graph(Path(folder)).signature_def)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in found.items():
            for batch in BATCH_SIZES:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "seghgan"
                request.model_spec.signature_name = name
                for key, spec in signature.inputs.items():
                    request.inputs[key].CopyFrom(_warmup_value(key, spec, batch, image_size))
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
