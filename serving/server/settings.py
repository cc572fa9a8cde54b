"""Every setting of the server, with the names TensorFlow Serving's flags have where it has one, and their command line."""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

CONFIG = Path(__file__).parents[1] / "config"


def read_message(path: Path | str, kind: Any, setting: str) -> Any:
    """Return the `kind` of protocol message that a file holds in text form; ValueError that names `setting` where it holds none."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(Path(path).read_text(), kind())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"`{setting}` must hold {kind.DESCRIPTOR.name} ({error}). Received: {path}") from error


def read_ssl_config(path: Path) -> Any:
    """Return TensorFlow Serving's SSLConfig of a file; ValueError, without a word of its keys, where it holds none."""
    from google.protobuf import text_format

    from serving import messages

    try:
        parsed = text_format.Parse(path.read_text(), messages.SSLConfig())
    except (text_format.ParseError, UnicodeDecodeError):
        raise ValueError(f"`ssl_config_file` must hold an SSLConfig. Received: {path}") from None
    if parsed.client_verify and not parsed.custom_ca:
        raise ValueError(f"`client_verify` needs `custom_ca`. Received: no custom_ca in {path}")
    return parsed


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the server is started with; ValueError where two settings contradict each other."""

    model_dir: Annotated[Path | None, "folder of one model's versions, as EXPORT; or use --model-config-file"] = None
    model_name: Annotated[str, "name of the model in EXPORT"] = "seghgan"
    model_config_file: Annotated[Path | None, "TensorFlow Serving's models.config, in place of EXPORT"] = None
    model_config_file_poll_wait_seconds: Annotated[float, "how often that file is read again; 0 is once"] = 30.0
    file_system_poll_wait_seconds: Annotated[float, "how often version folders are scanned; 0 is once"] = 1.0
    load_retry_seconds: Annotated[
        float, "wait before a version that failed is loaded again; doubles each time, up to 5 minutes"
    ] = 5.0
    host: Annotated[str, "address to listen on; 0.0.0.0 or :: for every interface"] = "127.0.0.1"
    grpc_port: Annotated[int, "0 takes a free port"] = 8500
    rest_port: Annotated[int | None, "REST, web page and metrics; 0 takes a free port, none opens none"] = 8501
    rest_api_timeout_in_ms: Annotated[int, "deadline of a REST request"] = 30_000
    port_file: Annotated[Path | None, "where the ports are written, as JSON, once requests are answered"] = None
    batching_parameters_file: Annotated[Path | None, "how requests are batched; none runs each by itself"] = (
        CONFIG / "batching_parameters.pbtxt"
    )
    monitoring_config_file: Annotated[Path | None, "path of the metrics; none shows none"] = (
        CONFIG / "monitoring.config"
    )
    enable_model_warmup: Annotated[bool, "replay the warmup requests before a version is available"] = True
    max_in_flight: Annotated[
        int, "requests that run at once; 0 finds it, from the batching threads to half of their full batches"
    ] = 0
    max_waiting: Annotated[
        int, "requests that wait, the rest is turned away; -1 takes half as many as run, and none under overload"
    ] = -1
    max_bytes_in_flight: Annotated[
        int, "memory that messages, JSON and edited photos may take at once; 0 takes half of what the process may have"
    ] = 0
    max_message_bytes: Annotated[int, "largest message; 0 takes what the loaded models need"] = 0
    message_seconds: Annotated[float, "how long a request's message may take to arrive"] = 10.0
    strict_compatibility: Annotated[
        bool,
        "answer as TensorFlow Serving would: no checks of what pictures hold, no hints, no page, float_val, reload for everyone",
    ] = False
    allow_reload: Annotated[
        bool, "let clients change the configuration (HandleReloadConfigRequest); --admin-identities narrows it"
    ] = False
    tls_key: Annotated[Path | None, "private key of the server, PEM; read again when it changes"] = None
    tls_cert: Annotated[Path | None, "certificate of the server, PEM; read again when it changes"] = None
    tls_client_ca: Annotated[Path | None, "mTLS: only clients whose certificate this authority signed, PEM"] = None
    ssl_config_file: Annotated[Path | None, "TensorFlow Serving's ssl.config, in place of the three above"] = None
    client_identities: Annotated[tuple[str, ...], "mTLS: only clients of these names (SAN or CN)"] = ()
    admin_identities: Annotated[tuple[str, ...], "names of the clients that may reload"] = ()
    drain_seconds: Annotated[float, "how long requests may take to finish after SIGTERM"] = 30.0
    lame_duck_seconds: Annotated[
        float,
        "how long to go on accepting after SIGTERM while health says NOT_SERVING, so that balancers notice; a second one ends it",
    ] = 0.0
    log_level: Annotated[str, "debug (every request), info, warning or error"] = "info"

    def __post_init__(self) -> None:
        if (self.model_dir is None) == (self.model_config_file is None):
            given = "both" if self.model_dir else "neither"
            raise ValueError(f"Give EXPORT (`model_dir`) or `model_config_file`. Received: {given}")
        if (self.tls_key is None) != (self.tls_cert is None):
            raise ValueError("`tls_key` and `tls_cert` belong together. Received: one of them")
        if self.ssl_config_file is not None and self.tls_key is not None:
            raise ValueError("Give `ssl_config_file` or `tls_key` and `tls_cert`. Received: both")
        if self.tls_client_ca is not None and self.tls_key is None:
            raise ValueError("`tls_client_ca` needs `tls_key` and `tls_cert`. Received: no key")
        if (self.client_identities or self.admin_identities) and not self.checks_clients:
            raise ValueError(
                "`client_identities` and `admin_identities` need `tls_client_ca`, or `client_verify` in `ssl_config_file`. "
                "Received: neither"
            )
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ValueError(f"`log_level` must be debug, info, warning or error. Received: {self.log_level!r}")

    @property
    def has_certificate(self) -> bool:
        """Whether the server shows a certificate, so that it speaks TLS."""
        return self.tls_key is not None or self.ssl_config_file is not None

    @functools.cached_property
    def checks_clients(self) -> bool:
        """Whether clients have to show certificates, which they cannot over REST; ValueError or OSError for an unusable file."""
        if self.ssl_config_file is None:
            return self.tls_client_ca is not None
        return bool(read_ssl_config(self.ssl_config_file).client_verify)


def address(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets.

    >>> address("::1", 8500), address("[::]", 8500), address("localhost", 8500)
    ('[::1]:8500', '[::]:8500', 'localhost:8500')
    """
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def _or_none(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text == "none" else convert(text)

    parse.__name__ = convert.__name__  # argparse names it in its errors
    return parse


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of `Settings`, and the folder of versions as an argument."""
    parser.add_argument("export", metavar="EXPORT", type=Path, nargs="?", help="folder that `seghgan export` wrote")
    for field in dataclasses.fields(Settings):
        kind, text = get_args(field.type)
        flag = "--" + field.name.replace("_", "-")
        shown = text if field.default in (None, (), False) else f"{text} (default: {field.default})"
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
        elif "tuple" in str(kind):
            parser.add_argument(flag, nargs="*", default=(), help=text)
        else:
            convert: Any = next(one for one in (Path, float, int, str) if one.__name__ in str(kind))
            parser.add_argument(flag, type=_or_none(convert), default=field.default, help=shown.replace("%", "%%"))


def settings_of(given: argparse.Namespace) -> Settings:
    """Return the settings that were given; ValueError where two contradict each other."""
    values: dict[str, Any] = {field.name: getattr(given, field.name) for field in dataclasses.fields(Settings)}
    if given.export is not None and values["model_dir"] is not None:
        raise ValueError("Give EXPORT or `model_dir`. Received: both")
    values["model_dir"] = given.export or values["model_dir"]
    lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Settings(**(values | lists))
