"""The typed errors of the clients: what failed and what to do."""

import grpc


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
    DeadlineExceeded: "Give a larger `timeout` (`--timeout`), or send fewer images at once or a smaller photo.",
    ModelNotFound: "`seghgan status --server ADDRESS` lists what is served.",
}


def typed(error: grpc.RpcError, target: str) -> ClientError:
    """Return the typed error of a failed call."""
    code, details = error.code(), error.details() or ""
    kind = _ERRORS.get(code, ClientError)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:
        kind = InvalidRequest
        details += ". Send fewer images at once, ask for a JPEG (`jpeg_quality=90`), or scale the photo down."
    raised = kind(f"{target}: {details} {_ADVICE.get(kind, '')}".strip() if details else f"{target}: {code.name}")
    raised.code = code
    return raised
