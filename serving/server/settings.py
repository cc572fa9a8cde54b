"""Every setting of the embedded server, with the names TensorFlow Serving's flags have where it has one."""

import dataclasses
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "config"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the server is started with; ValueError where two settings contradict each other."""

    model_dir: Path | None = None
    """Folder of one model's versions; or use `model_config_file`."""
    model_name: str = "seghgan"
    """Name of the model in `model_dir`."""
    model_config_file: Path | None = None
    """TensorFlow Serving's `models.config`."""
    model_config_file_poll_wait_seconds: float = 0.0
    """How often the file is read again; 0 is once."""
    file_system_poll_wait_seconds: float = 1.0
    """How often version folders are scanned; 0 is once."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` or `[::]` for every interface."""
    grpc_port: int = 8500
    """0 takes a free port."""
    rest_port: int | None = 8501
    """0 takes a free port; None opens none."""
    rest_api_timeout_in_ms: int = 30_000
    """Deadline of a REST request."""
    port_file: Path | None = None
    """Where the ports are written, as JSON, once requests are answered."""
    batching_parameters_file: Path | None = CONFIG / "batching_parameters.pbtxt"
    """How requests are batched; None runs each by itself."""
    monitoring_config_file: Path | None = CONFIG / "monitoring.config"
    """Path of the metrics; None shows none."""
    enable_model_warmup: bool = True
    """Replay the warmup requests before a version is available."""
    max_in_flight: int = 0
    """Requests that run at once; 0 takes what half fills the batches of every batch thread."""
    max_waiting: int = -1
    """Requests that wait; the rest is shed; -1 takes half as many as run."""
    max_message_bytes: int = 0
    """Largest message; 0 takes what the loaded models need."""
    strict_compatibility: bool = False
    """Answer as TensorFlow Serving would: no checks of what pictures hold, no retry hints, reload for everyone."""
    allow_reload: bool = False
    """Answer HandleReloadConfigRequest (`admin_identities` narrows it)."""
    tls_key: Path | None = None
    """Private key of the server, PEM."""
    tls_cert: Path | None = None
    """Certificate of the server, PEM."""
    tls_client_ca: Path | None = None
    """Authority whose clients are accepted, PEM; every client must show a certificate."""
    ssl_config_file: Path | None = None
    """TensorFlow Serving's ssl.config, in place of the three above."""
    client_identities: tuple[str, ...] = ()
    """Names (SAN or CN) of the clients that are accepted; empty is all that `tls_client_ca` has signed."""
    admin_identities: tuple[str, ...] = ()
    """Names of the clients that may reload."""
    drain_seconds: float = 30.0
    """How long requests may take to finish after SIGTERM."""
    lame_duck_seconds: float = 0.0
    """How long to go on accepting after SIGTERM while health says NOT_SERVING, so that balancers notice."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        if (self.model_dir is None) == (self.model_config_file is None):
            raise ValueError(
                "Give `model_dir` or `model_config_file`. Received: " + ("both" if self.model_dir else "neither")
            )
        if (self.tls_key is None) != (self.tls_cert is None):
            raise ValueError("`tls_key` and `tls_cert` belong together. Received: one of them")
        if self.ssl_config_file is not None and self.tls_key is not None:
            raise ValueError("Give `ssl_config_file` or `tls_key` and `tls_cert`. Received: both")
        if self.tls_client_ca is not None and self.tls_key is None:
            raise ValueError("`tls_client_ca` needs `tls_key` and `tls_cert`. Received: no key")
        checks_clients = self.tls_client_ca is not None or self.ssl_config_file is not None
        if (self.client_identities or self.admin_identities) and not checks_clients:
            raise ValueError("`client_identities` and `admin_identities` need `tls_client_ca`. Received: none")
