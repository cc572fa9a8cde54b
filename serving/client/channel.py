"""A client's connections: TLS, and the retry policy that gRPC itself carries out."""

import dataclasses
import json
import re
from typing import Any

import grpc

from serving import tensors

LOOPBACK = re.compile(r"(dns:///)?(ipv[46]:)?(localhost|127\.[\d.]+|\[?::1\]?|\[?::ffff:127\.[\d.]+\]?)(:\d+)?(,.*)?")


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
    """gRPC's retry policy: a call that a server leaves (UNAVAILABLE, RESOURCE_EXHAUSTED, CANCELLED) is made again.

    It stays within its deadline. A server that stops ends the calls it has not begun with CANCELLED; the caller's own
    cancelling ends the call and its attempts.
    A server that says when to come back is obeyed. Of `budget` tokens each such failure takes one and each success
    gives `refill` back; while half of them or less are left nothing is made again, so that retries cannot multiply
    an overload. `attempts` counts the first call too. Waits are seconds; below 10 ms gRPC may hang until the deadline
    (grpc 41036).
    """

    attempts: int = 4
    first: float = 0.05
    factor: float = 2.0
    longest: float = 2.0
    budget: int = 20
    refill: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:
            raise ValueError(f"`attempts` must be 1 to 5, gRPC's own limit. Received: {self.attempts}")
        if self.first < 0.01:
            raise ValueError(f"`first` must be at least 0.01 because gRPC may hang at less. Received: {self.first}")

    def service_config(self) -> str:
        """Return the policy as gRPC's service config, in JSON, with calls spread over all addresses in turn."""
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if self.attempts > 1:
            policy = {
                "maxAttempts": self.attempts,
                "initialBackoff": f"{self.first:.9f}s",
                "maxBackoff": f"{self.longest:.9f}s",
                "backoffMultiplier": self.factor,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            }
            config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}]
            config["retryThrottling"] = {"maxTokens": self.budget, "tokenRatio": self.refill}
        return json.dumps(config)


def channel_options(target: str, tls: TLS | None, retry: Retry) -> list[tuple[str, Any]]:
    """Return a channel's options; a proxy of the environment (`http_proxy`) is not used for loopback addresses."""
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls is not None and tls.server_name else []
    return [
        *named,
        ("grpc.enable_http_proxy", int(LOOPBACK.fullmatch(target) is None)),
        ("grpc.service_config", retry.service_config()),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", int(retry.attempts > 1)),
        # A message that is larger than this is sent once only.
        ("grpc.per_rpc_retry_buffer_size", tensors.MAX_BYTES),
        ("grpc.max_send_message_length", tensors.MAX_BYTES),
        ("grpc.max_receive_message_length", tensors.MAX_BYTES),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # The default of 30 s would outlast the last address that a client knows in a quick rollout.
        ("grpc.dns_min_time_between_resolutions_ms", 5000),
        # A peer that vanished is noticed before the default deadline, so that its calls are made again elsewhere.
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 5000),
    ]
