"""What the sync and the asyncio client share: messages in and out, retry rules, the choice of a version."""

import dataclasses
import hashlib
import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from serving import messages, tensors
from serving import signature as contract
from serving.client.errors import ModelNotFound

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
        # The default of 30 s would outlast the last address that a client knows in a quick rollout.
        ("grpc.dns_min_time_between_resolutions_ms", 5000),
        # A peer that vanished is noticed before the default deadline, so that its calls are made again elsewhere.
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 5000),
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


def labels_request(served: Served) -> dict[str, np.ndarray]:
    """Return the inputs of the signature `labels`; ModelNotFound where an older export has none."""
    if "labels" not in served.signatures:
        raise ModelNotFound(
            "The served export was written by an earlier version and does not tell its labels; its manifest.json does. "
            "Export the model again with `seghgan export`, or name them yourself (`--space` of `seghgan edit`)."
        )
    return {"expression": np.zeros((1, served.expression_size), np.float32)}


def canary_label(key: str, fraction: float) -> str:
    """Return `canary` for that fraction of keys and `stable` for the rest; a key always gets the same answer.

    >>> canary_label("somebody", 0.0), canary_label("somebody", 1.0)
    ('stable', 'canary')
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "canary" if share < fraction else "stable"


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
