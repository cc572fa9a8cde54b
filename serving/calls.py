"""What the sync and the asyncio client share: messages in and out, typed errors, retry rules, the canary split."""

import dataclasses
import hashlib
import io
import random
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from serving import contract, messages, tensors

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
REPLIES = {
    PREDICT: messages.PredictResponse,
    METADATA: messages.GetModelMetadataResponse,
    STATUS: messages.GetModelStatusResponse,
}
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

Image = Any
"""A photo: file bytes (JPEG or PNG), a PIL image, or an array (H, W, 3), uint8 or float32 in [-1, 1]."""


class ClientError(Exception):
    """A call failed; `code` is the gRPC status code, the text says what to do."""

    code = grpc.StatusCode.UNKNOWN


class InvalidRequest(ClientError):  # noqa: N818
    """The server refuses the request as it is; sending it again will not help."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class ModelNotFound(ClientError):  # noqa: N818
    """The server has no such model, version or signature."""

    code = grpc.StatusCode.NOT_FOUND


class ServerBusy(ClientError):  # noqa: N818
    """The server is overloaded and went on being so through all retries."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class ServerUnavailable(ClientError):  # noqa: N818
    """No server answers at the address."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(ClientError):  # noqa: N818
    """The answer did not come in time."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class AccessDenied(ClientError):  # noqa: N818
    """The server does not accept this client's certificate or name."""

    code = grpc.StatusCode.PERMISSION_DENIED


_ERRORS = {kind.code: kind for kind in (InvalidRequest, ModelNotFound, ServerBusy, ServerUnavailable, DeadlineExceeded)}
_ERRORS |= {
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.FAILED_PRECONDITION: ModelNotFound,
}
_ADVICE = {
    ServerBusy: "Send fewer requests at once or add servers.",
    ServerUnavailable: "Check the address and that `seghgan serve` runs there, with the TLS settings of this client.",
    DeadlineExceeded: "Give a larger `timeout` or send smaller batches.",
    ModelNotFound: "`seghgan status --server ADDRESS` lists what is served.",
}


def typed(error: grpc.RpcError, target: str) -> ClientError:
    """Return the typed error of a failed call."""
    code, details = error.code(), error.details() or ""
    kind = _ERRORS.get(code, ClientError)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:
        kind = InvalidRequest
        details += ". Send fewer images at once."
    raised = kind(f"{target}: {details} {_ADVICE.get(kind, '')}".strip() if details else f"{target}: {code.name}")
    raised.code = code
    return raised


@dataclasses.dataclass(frozen=True)
class TLS:
    """PEM bytes: the authority that signed the server, and for mTLS the client's certificate and key."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    server_name: str = ""
    """Name to expect in the server's certificate where it is not the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Return gRPC's credentials."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)


@dataclasses.dataclass(frozen=True)
class Retry:
    """When a failed call is made again: only on UNAVAILABLE and RESOURCE_EXHAUSTED, and only within the budget.

    The budget holds `budget` tokens; a retry takes one, a success gives `refill` back, so that retries cannot multiply
    an overload.
    """

    attempts: int = 4
    first: float = 0.05
    factor: float = 2.0
    longest: float = 2.0
    budget: float = 20.0
    refill: float = 0.1


class Retries:
    """The retry budget of one client and the waits between attempts."""

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self._tokens = retry.budget
        self._lock = threading.Lock()
        self._random = random.Random()

    def succeeded(self) -> None:
        """Give some budget back."""
        with self._lock:
            self._tokens = min(self.retry.budget, self._tokens + self.retry.refill)

    def wait(self, error: grpc.RpcError, attempt: int, remaining: float) -> float | None:
        """Return how long to wait before the next attempt, None where there is none to be made."""
        too_large = "message larger than max" in (error.details() or "")
        if error.code() not in RETRIED or too_large or attempt >= self.retry.attempts:
            return None
        ceiling = min(self.retry.longest, self.retry.first * self.retry.factor ** (attempt - 1))
        wait = max(self._random.uniform(ceiling / 2, ceiling), retry_after(error))
        if wait >= remaining:
            return None
        return wait if self.spend() else None

    def spend(self) -> bool:
        """Take one attempt from the budget; False where it is empty."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def retry_after(error: grpc.RpcError) -> float:
    """Return the seconds that the server asks to wait (RetryInfo), 0 where it does not say."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in messages.Status.FromString(value).details:
                if detail.type_url.endswith("google.rpc.RetryInfo"):
                    delay = messages.RetryInfo.FromString(detail.value).retry_delay
                    return min(float(delay.seconds + delay.nanos * 1e-9), 10.0)
    return 0.0


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

    def of(self, key: str | None) -> tuple[int | None, str | None]:
        """Return (version, label) for a key; ValueError where a canary share is set and there is no key."""
        if self.canary is None:
            return self.version, self.label
        if key is None:
            raise ValueError("`key` must name the user or session where `canary` is set. Received: None")
        return None, canary_label(key, self.canary)


def check_size(request: Any, served: "Served") -> None:
    """Raise ValueError where a request is larger than the model's server takes."""
    if request.ByteSize() > served.message_bytes:
        raise ValueError(
            f"A request may take {served.message_bytes} bytes; send fewer images. Received: {request.ByteSize()}"
        )


def parse_status(reply: Any) -> dict[int, tuple[str, str]]:
    """Return each version's state and error text from a GetModelStatusResponse."""
    return {
        one.version: (STATES.get(one.state, str(one.state)), one.status.error_message)
        for one in reply.model_version_status
    }


def channel_options(limit: int, tls: TLS | None) -> list[tuple[str, Any]]:
    """Return a channel's options: round_robin over all addresses of the name, our own retries, message sizes."""
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls is not None and tls.server_name else []
    return [
        *named,
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", limit),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
    ]


@dataclasses.dataclass(frozen=True)
class Served:
    """What the server says of the model: version and signatures."""

    version: int
    signatures: dict[str, contract.Signature]

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
        return contract.message_bytes(self.image_size)


def parse_metadata(reply: Any) -> Served:
    """Return what a GetModelMetadataResponse says; ModelNotFound where the model is not a SegHGAN export."""
    packed = messages.SignatureDefMap.FromString(reply.metadata["signature_def"].value)

    def spec(info: Any) -> contract.Spec:
        shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
        return contract.Spec(tensors.dtype_name(info.dtype), shape)

    signatures = {
        name: contract.Signature(
            {key: spec(info) for key, info in one.inputs.items()},
            {key: spec(info) for key, info in one.outputs.items()},
        )
        for name, one in packed.signature_def.items()
        if name != contract.INIT_SIGNATURE
    }
    if "analyze" not in signatures:
        raise ModelNotFound(f"The model must be a SegHGAN export. Received: one with {sorted(signatures)}")
    return Served(reply.model_spec.version.value, signatures)


def region_columns(regions: Sequence[str] | None, count: int) -> np.ndarray:
    """Return the regions input (count, R + 1): `whole` where `regions` is None, nothing where it is empty.

    >>> region_columns(["mouth"], 1)
    array([[0., 0., 0., 1.]], dtype=float32)
    """
    names = ("whole",) if regions is None else tuple(regions)
    if unknown := [name for name in names if name not in contract.REGIONS]:
        raise ValueError(f"`regions` must be among {list(contract.REGIONS)}. Received: {unknown}")
    row = np.array([name in names for name in contract.REGIONS], np.float32)
    return np.tile(row, (count, 1))


def is_photo(image: Image) -> bool:
    """Return whether an image is sent as a file: bytes and PIL images of any size are."""
    return isinstance(image, (bytes, bytearray)) or hasattr(image, "save")


def photo_bytes(image: Image) -> bytes:
    """Return the file bytes of a photo; a PIL image becomes a PNG."""
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG")
    return file.getvalue()


def pixels(image: Image, size: int) -> np.ndarray:
    """Return float32 pixels (size, size, 3) in [-1, 1]; files and PIL images lose what lies outside their centre square."""
    if isinstance(image, (bytes, bytearray)) or hasattr(image, "save"):
        from PIL import Image as Pillow
        from PIL import ImageOps

        opened = Pillow.open(io.BytesIO(image)) if isinstance(image, (bytes, bytearray)) else image
        square = ImageOps.fit(opened.convert("RGB"), (size, size), Pillow.Resampling.BILINEAR)
        return np.asarray(square, np.float32) / 127.5 - 1.0
    array = np.asarray(image)
    if array.shape != (size, size, 3) or array.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"`image` must be uint8 or float32 of shape ({size}, {size}, 3), a PIL image or file bytes. "
            f"Received: {array.dtype} of shape {array.shape}"
        )
    return array if array.dtype == np.float32 else array.astype(np.float32) / 127.5 - 1.0


def expressions(expression: Any, count: int, size: int) -> np.ndarray:
    """Return the expression input (count, size) from one row for all or a row each."""
    rows = np.asarray(expression, np.float32)
    rows = np.tile(rows, (count, 1)) if rows.ndim == 1 else rows
    if rows.shape != (count, size):
        raise ValueError(
            f"`expression` must have {size} numbers, or a row of them per image. Received: shape {rows.shape}"
        )
    return rows


def canary_label(key: str, fraction: float) -> str:
    """Return `canary` for that fraction of keys and `stable` for the rest; a key always gets the same answer.

    >>> canary_label("somebody", 0.0), canary_label("somebody", 1.0)
    ('stable', 'canary')
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "canary" if share < fraction else "stable"


@dataclasses.dataclass(frozen=True)
class Edit:
    """How images are edited: the arguments that `edit` and `edit_many` share."""

    expression: Any
    regions: Sequence[str] | None = None
    jpeg_quality: int = 0

    def request(self, images: Sequence[Image], served: Served) -> tuple[str, str, dict[str, np.ndarray]]:
        """Return signature, output and inputs for images of one kind; ValueError where they do not fit the model."""
        count = len(images)
        rows = expressions(self.expression, count, served.expression_size)
        asked = {"expression": rows, "regions": region_columns(self.regions, count)}
        if is_photo(images[0]):
            encoded = np.empty(count, object)
            encoded[:] = [photo_bytes(image) for image in images]
            quality = np.full(count, self.jpeg_quality, np.int32)
            return "edit_bytes", "edited_bytes", {"image_bytes": encoded, **asked, "jpeg_quality": quality}
        arrays = [np.asarray(image) for image in images]
        if all(array.dtype == np.uint8 for array in arrays):
            side = served.image_size
            if any(array.shape != (side, side, 3) for array in arrays):
                raise ValueError(f"`image` must have shape ({side}, {side}, 3). Received: {arrays[0].shape}")
            return "serving_uint8", "edited", {"image": np.stack(arrays), **asked}
        stacked = np.stack([pixels(array, served.image_size) for array in arrays])
        return "serving_default", "edited", {"image": stacked, **asked}

    def result(self, edited: Any, image: Image) -> Any:
        """Return an edited image in the kind of the image that was sent."""
        if not hasattr(image, "save"):
            return edited
        from PIL import Image as Pillow

        return Pillow.open(io.BytesIO(edited)).convert("RGB")


def _kind(image: Image) -> str:
    if is_photo(image):
        return "photo"
    return "uint8" if np.asarray(image).dtype == np.uint8 else "float32"


def batches(images: Iterable[Image], size: int, served: Served) -> Iterator[list[Image]]:
    """Group images of one kind, at most `size` and never more bytes than a message may have."""
    if size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: {size}")
    room = served.message_bytes - (1 << 20)
    batch: list[Image] = []
    used, kind = 0, ""
    for image in images:
        mine = _kind(image)
        image = photo_bytes(image) if isinstance(image, bytearray) else image
        takes = len(image) if isinstance(image, bytes) else served.image_size**2 * (3 if mine == "uint8" else 12)
        if batch and (len(batch) >= size or mine != kind or used + takes > room):
            yield batch
            batch, used = [], 0
        batch.append(image)
        used, kind = used + takes, mine
    if batch:
        yield batch


def predict_request(
    model: str,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    version: int | None,
    label: str | None,
    outputs: Sequence[str] = (),
) -> Any:
    """Return a PredictRequest."""
    request = messages.PredictRequest()
    fill_spec(request.model_spec, model, version, label)
    request.model_spec.signature_name = signature
    request.output_filter.extend(outputs)
    for name, array in inputs.items():
        tensors.encode(array, request.inputs[name])
    return request


def fill_spec(spec: Any, model: str, version: int | None, label: str | None) -> None:
    """Fill a ModelSpec."""
    spec.name = model
    if version is not None:
        spec.version.value = version
    elif label is not None:
        spec.version_label = label
