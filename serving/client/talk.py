"""What a client says and hears: which version it asks, requests, and what the server tells of its model."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from serving import messages, tensors
from serving.client.errors import ModelNotFound
from serving.signature import Signature, from_definitions, message_bytes

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
REPLIES = {
    PREDICT: messages.PredictResponse,
    METADATA: messages.GetModelMetadataResponse,
    STATUS: messages.GetModelStatusResponse,
}
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


class Asked(NamedTuple):
    """The version that a request is for: by number, by label, or the newest."""

    version: int | None = None
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which version answers a client's calls; ValueError where more than one way to choose is given."""

    version: int | None = None
    label: str | None = None
    canary: float | None = None

    def __post_init__(self) -> None:
        if sum(choice is not None for choice in (self.version, self.label, self.canary)) > 1:
            raise ValueError("Give one of `version`, `label` and `canary`. Received: several")
        if self.canary is not None and not 0 <= self.canary <= 1:
            raise ValueError(f"`canary` must be a share from 0 to 1. Received: {self.canary}")

    def of(self, key: str | None) -> Asked:
        """Return what a key asks for; ValueError where a canary share is set and there is no key."""
        if self.canary is None:
            return Asked(self.version, self.label)
        if key is None:
            raise ValueError("`key` must name the user or session where `canary` is set. Received: None")
        return Asked(label=canary_label(key, self.canary))


def canary_label(key: str, fraction: float) -> str:
    """Return `canary` for that fraction of keys and `stable` for the rest; a key always gets the same answer.

    >>> canary_label("somebody", 0.0), canary_label("somebody", 1.0)
    ('stable', 'canary')
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "canary" if share < fraction else "stable"


@dataclasses.dataclass(frozen=True)
class Served:
    """What the server says of the model: version and signatures."""

    version: int
    signatures: dict[str, Signature]

    @property
    def image_size(self) -> int:
        """Side of the model's images, in pixels."""
        return int(self.signatures["analyze"].inputs["image"].shape[1] or 0)

    @property
    def expression_size(self) -> int:
        """Length of an expression."""
        return int(self.signatures["analyze"].outputs["expression"].shape[1] or 0)

    @property
    def message_bytes(self) -> int:
        """Largest message this model needs."""
        return message_bytes(self.image_size)


class Reply(NamedTuple):
    """A server's answer: the version that gave it, its outputs, and what it says of itself (`x-served-by`)."""

    version: int
    outputs: dict[str, np.ndarray]
    served_by: str


def predict_request(
    model: str,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    asked: Asked = Asked(),  # noqa: B008  # immutable
    outputs: Sequence[str] = (),
) -> Any:
    """Return a PredictRequest."""
    request = messages.PredictRequest(output_filter=outputs)
    fill_spec(request.model_spec, model, asked)
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        tensors.encode(array, request.inputs[name])
    return request


def fill_spec(spec: Any, model: str, asked: Asked) -> None:
    """Fill a ModelSpec."""
    spec.name = model
    if asked.version is not None:
        spec.version.value = asked.version
    elif asked.label is not None:
        spec.version_label = asked.label


def metadata_request(model: str, asked: Asked) -> Any:
    """Return a GetModelMetadataRequest for the signatures."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    fill_spec(request.model_spec, model, asked)
    return request


def parse_metadata(reply: Any) -> Served:
    """Return what a GetModelMetadataResponse says; ModelNotFound where the model is not a SegHGAN export."""
    packed = messages.SignatureDefMap.FromString(reply.metadata["signature_def"].value)
    if "analyze" not in packed.signature_def:
        raise ModelNotFound(f"The model must be a SegHGAN export. Received: one with {sorted(packed.signature_def)}")
    return Served(reply.model_spec.version.value, from_definitions(packed.signature_def))


def parse_prediction(reply: Any, served_by: str) -> Reply:
    """Return what a PredictResponse holds."""
    outputs = {name: tensors.decode(proto) for name, proto in reply.outputs.items()}
    return Reply(reply.model_spec.version.value, outputs, served_by)


def parse_status(reply: Any) -> dict[int, tuple[str, str]]:
    """Return each version's state and error text from a GetModelStatusResponse."""
    return {
        one.version: (STATES.get(one.state, str(one.state)), one.status.error_message)
        for one in reply.model_version_status
    }


def check_size(request: Any, served: Served) -> None:
    """Raise ValueError where a request is larger than the model's server takes."""
    if request.ByteSize() > served.message_bytes:
        raise ValueError(
            f"A request may take {served.message_bytes} bytes: send fewer images at once, or scale a photo down. "
            f"Received: {request.ByteSize()}"
        )


def labels_inputs(served: Served) -> dict[str, np.ndarray]:
    """Return the inputs of the signature `labels`; ModelNotFound where an older export has none."""
    if "labels" not in served.signatures:
        raise ModelNotFound(
            "The served export was written by an earlier version and does not tell its labels; its manifest.json does. "
            "Export the model again with `seghgan export`, or name them yourself (`--space` of `seghgan edit`)."
        )
    return {"expression": np.zeros((1, served.expression_size), np.float32)}
