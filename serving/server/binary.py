"""TensorFlow Serving's own binary: its command line with the shipped configuration, and the same for Docker."""

import shlex
import shutil
from pathlib import Path

from serving.server.settings import CONFIG, Settings

IMAGE = "tensorflow/serving:2.20.0"
"""Pinned image; TensorFlow 2.21 exports on it are not tested by us."""


def find_binary() -> str | None:
    """Return the path of `tensorflow_model_server`, None where it is not on PATH."""
    return shutil.which("tensorflow_model_server")


def _flags(settings: Settings, config: str, cores: int) -> list[str]:
    flags = [
        f"--port={settings.grpc_port}",
        f"--rest_api_port={settings.rest_port or 0}",
        f"--rest_api_timeout_in_ms={settings.rest_api_timeout_in_ms}",
        f"--monitoring_config_file={config}/monitoring.config",
        "--enable_batching=true",
        f"--batching_parameters_file={config}/batching_parameters.pbtxt",
        "--enable_grpc_healthcheck_service=true",
        "--enable_profiler=false",
        "--enable_serialization_as_tensor_content=true",
        "--enable_model_warmup=true",
        "--num_request_iterations_for_warmup=3",
        "--max_num_load_retries=3",
        "--load_retry_interval_micros=5000000",
        "--num_load_threads=1",
        "--num_unload_threads=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--tensorflow_intra_op_parallelism={cores}",
        "--tensorflow_inter_op_parallelism=2",
        "--grpc_channel_arguments=grpc.max_concurrent_streams=64,grpc.max_connection_age_ms=300000,"
        "grpc.max_connection_age_grace_ms=30000",
        f"--file_system_poll_wait_seconds={max(1, round(settings.file_system_poll_wait_seconds))}",
    ]
    if settings.model_config_file is not None:
        poll = round(settings.model_config_file_poll_wait_seconds)
        flags.append(f"--model_config_file_poll_wait_seconds={poll}")
    if settings.ssl_config_file is not None:
        flags.append(f"--ssl_config_file={settings.ssl_config_file.resolve()}")
    return flags


def command(settings: Settings, binary: str, cores: int) -> list[str]:
    """Return the command that serves with the binary; ValueError for settings that it cannot honour."""
    if settings.grpc_port == 0 or settings.rest_port == 0:
        raise ValueError("`grpc_port` and `rest_port` must be given with the binary, which cannot choose. Received: 0")
    if settings.tls_key is not None:
        raise ValueError("The binary takes its certificates from `ssl_config_file`. Received: tls_key")
    config = settings.batching_parameters_file.parent if settings.batching_parameters_file else CONFIG
    models = (
        [f"--model_config_file={settings.model_config_file.resolve()}"]
        if settings.model_config_file is not None
        else [f"--model_name={settings.model_name}", f"--model_base_path={Path(settings.model_dir or '.').resolve()}"]
    )
    return [binary, *models, *_flags(settings, str(config.resolve()), cores)]


def docker_command(model_dir: Path, name: str = "seghgan", cores: int = 2) -> str:
    """Return the `docker run` line that serves an export folder with TensorFlow Serving's image."""
    settings = Settings(model_dir=model_dir, model_name=name)
    flags = [f"--model_name={name}", f"--model_base_path=/models/{name}", *_flags(settings, "/config", cores)]
    parts = ["docker", "run", "--rm", "-p", "8500:8500", "-p", "127.0.0.1:8501:8501"]
    parts += ["-v", f"{model_dir.resolve()}:/models/{name}:ro", "-v", f"{CONFIG.resolve()}:/config:ro"]
    return shlex.join([*parts, "--entrypoint", "tensorflow_model_server", IMAGE, *flags])
