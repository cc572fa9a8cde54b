"""TensorFlow Serving's own binary: its command line with the shipped configuration, and the same for Docker."""

import dataclasses
import shlex
from collections.abc import Collection

from seghgan_tf.machine import cores
from serving.server.settings import CONFIG, Settings

IMAGE = "tensorflow/serving:2.20.0"
"""Pinned image; TensorFlow 2.21 exports on it are not tested by us."""

HONOURED = frozenset((
    "model_dir", "model_name", "model_config_file", "model_config_file_poll_wait_seconds", "file_system_poll_wait_seconds", "host",
    "grpc_port", "rest_port", "rest_api_timeout_in_ms", "batching_parameters_file", "monitoring_config_file", "enable_model_warmup",
    "ssl_config_file", "strict_compatibility",
))  # fmt: skip
"""Settings that the binary has a flag for, or that it follows by nature."""


def _given(settings: Settings, besides: Collection[str]) -> list[str]:
    """Return the flags of the settings that are not at their defaults, besides some."""
    others = [field for field in dataclasses.fields(Settings) if field.name not in besides]
    return [f"--{one.name.replace('_', '-')}" for one in others if getattr(settings, one.name) != one.default]


def refusals(settings: Settings) -> list[str]:
    """Return why the binary cannot do what is asked, a reason each; none where it can."""
    changed = _given(settings, HONOURED)
    reasons = [f"it has nothing like {', '.join(changed)}"] if changed else []
    if settings.host.strip("[]") not in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        reasons.append(f"it listens on every interface, not on {settings.host} alone (--host 0.0.0.0 allows that)")
    if settings.grpc_port == 0 or settings.rest_port == 0:
        reasons.append("it cannot choose a free port (--grpc-port, --rest-port)")
    return reasons


def _flags(settings: Settings, files: dict[str, str]) -> list[str]:
    """Return the flags but those of the model; `files` are the paths of configuration files by flag."""
    flags = [
        f"--port={settings.grpc_port}",
        f"--rest_api_port={settings.rest_port or 0}",
        f"--rest_api_timeout_in_ms={settings.rest_api_timeout_in_ms}",
        *(f"--{flag}={path}" for flag, path in files.items()),
        f"--enable_batching={'true' if settings.batching_parameters_file else 'false'}",
        "--enable_grpc_healthcheck_service=true",
        "--enable_profiler=false",
        f"--enable_serialization_as_tensor_content={'false' if settings.strict_compatibility else 'true'}",
        f"--enable_model_warmup={'true' if settings.enable_model_warmup else 'false'}",
        "--num_request_iterations_for_warmup=3",
        "--max_num_load_retries=3",
        "--load_retry_interval_micros=5000000",
        "--num_load_threads=1",
        "--num_unload_threads=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--tensorflow_intra_op_parallelism={cores()}",
        "--tensorflow_inter_op_parallelism=2",
        "--grpc_channel_arguments=grpc.max_concurrent_streams=64,grpc.max_connection_age_ms=300000,"
        "grpc.max_connection_age_grace_ms=30000",
        f"--file_system_poll_wait_seconds={max(1, round(settings.file_system_poll_wait_seconds))}",
    ]
    if settings.model_config_file is not None:
        poll = round(settings.model_config_file_poll_wait_seconds)
        flags.append(f"--model_config_file_poll_wait_seconds={poll}")
    return flags


def command(settings: Settings, binary: str) -> list[str]:
    """Return the command that serves with the binary; ValueError for settings that it cannot honour."""
    if reasons := refusals(settings):
        raise ValueError(f"tensorflow_model_server cannot serve so: {'; '.join(reasons)}. Use `--backend embedded`.")
    names = ("batching_parameters_file", "monitoring_config_file", "ssl_config_file", "model_config_file")
    files = {name: str(path.resolve()) for name in names if (path := getattr(settings, name)) is not None}
    folder = settings.model_dir
    model = [f"--model_name={settings.model_name}", f"--model_base_path={folder.resolve()}"] if folder else []
    return [binary, *model, *_flags(settings, files)]


def docker_command(settings: Settings) -> str:
    """Return the `docker run` line that serves an export folder with TensorFlow Serving's image and the shipped configuration.

    ValueError where more is asked for than a folder and a name.
    """
    changed = _given(settings, ("model_dir", "model_name"))
    folder, name = settings.model_dir, settings.model_name
    if folder is None or changed:
        raise ValueError(
            f"`--docker` needs EXPORT and takes nothing beside it but --model-name. Received: {', '.join(changed) or 'no EXPORT'}"
        )
    files = {
        "batching_parameters_file": "/config/batching_parameters.pbtxt",
        "monitoring_config_file": "/config/monitoring.config",
    }
    model = [f"--model_name={name}", f"--model_base_path=/models/{name}"]
    parts = ["docker", "run", "--rm", "-p", "127.0.0.1:8500:8500", "-p", "127.0.0.1:8501:8501"]
    parts += ["-v", f"{folder.resolve()}:/models/{name}:ro", "-v", f"{CONFIG.resolve()}:/config:ro"]
    return shlex.join([*parts, "--entrypoint", "tensorflow_model_server", IMAGE, *model, *_flags(settings, files)])
