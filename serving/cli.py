"""The commands `serve`, `status`, `promote` and `bench-serve`; TensorFlow is imported only once a server starts."""

import enum
from pathlib import Path
from typing import Annotated

import typer


class Backend(enum.StrEnum):
    """What answers requests."""

    auto = "auto"
    binary = "binary"
    embedded = "embedded"


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> object:
    from serving.client.channel import TLS

    if ca is None and cert is None and key is None:
        return None
    if (cert is None) != (key is None):
        raise typer.BadParameter("--tls-cert and --tls-key belong together.")
    pem = [path.read_bytes() if path else None for path in (ca, cert, key)]
    return TLS(pem[0], pem[1], pem[2])


def serve(
    export: Annotated[
        Path | None, typer.Argument(help="Folder of version folders that `seghgan export` wrote.")
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="`binary` is tensorflow_model_server; `auto` takes it where it is on PATH.")
    ] = Backend.auto,
    name: Annotated[str, typer.Option(help="Name of the model in requests.")] = "seghgan",
    model_config_file: Annotated[
        Path | None, typer.Option(help="TensorFlow Serving's models.config, in place of EXPORT; read again every 30 s.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="0 takes a free port.")] = 8500,
    rest_port: Annotated[
        int, typer.Option(help="REST, web page and metrics; 0 takes a free port, -1 opens none.")
    ] = 8501,
    port_file: Annotated[
        Path | None, typer.Option(help="Write the ports here, as JSON, once requests are answered.")
    ] = None,
    batching_parameters_file: Annotated[Path | None, typer.Option(help="How requests are batched.")] = None,
    max_in_flight: Annotated[int, typer.Option(help="Requests that run at once; 0 chooses.")] = 0,
    max_waiting: Annotated[int, typer.Option(help="Requests that wait; the rest is turned away; -1 chooses.")] = -1,
    tls_cert: Annotated[Path | None, typer.Option(help="Server certificate, PEM; read again when it changes.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Server key, PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="mTLS: only clients whose certificate this authority signed.")
    ] = None,
    client_identity: Annotated[
        list[str] | None, typer.Option(help="mTLS: only clients of this name; may be repeated.")
    ] = None,
    allow_reload: Annotated[
        bool, typer.Option(help="Let clients change the configuration (HandleReloadConfigRequest).")
    ] = False,
    strict_compatibility: Annotated[
        bool, typer.Option(help="Answer as TensorFlow Serving would: no picture checks, no hints.")
    ] = False,
    drain_seconds: Annotated[float, typer.Option(help="How long requests may take to finish after SIGTERM.")] = 30.0,
    log_level: Annotated[str, typer.Option(help="debug logs every request.")] = "info",
    docker: Annotated[
        bool, typer.Option("--docker", help="Print the docker command for TensorFlow Serving and stop.")
    ] = False,
) -> None:
    """Serve an export over gRPC and REST until SIGTERM, then finish what runs.

    A new version folder beside the old one is loaded while the old one answers; nothing is restarted.

        seghgan serve export
        seghgan serve export --host 0.0.0.0 --tls-cert server.pem --tls-key server.key --tls-client-ca clients.pem
    """
    from serving.server import binary
    from serving.server.settings import CONFIG, Settings

    if docker:
        if export is None:
            raise typer.BadParameter("--docker needs EXPORT.")
        typer.echo(binary.docker_command(export, name))
        return
    if (export is None) == (model_config_file is None):
        raise typer.BadParameter("Give EXPORT or --model-config-file.")
    settings = Settings(
        model_dir=export,
        model_name=name,
        model_config_file=model_config_file,
        model_config_file_poll_wait_seconds=30.0,
        host=host,
        grpc_port=grpc_port,
        rest_port=None if rest_port < 0 else rest_port,
        port_file=port_file,
        batching_parameters_file=batching_parameters_file or CONFIG / "batching_parameters.pbtxt",
        max_in_flight=max_in_flight,
        max_waiting=max_waiting,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        client_identities=tuple(client_identity or ()),
        allow_reload=allow_reload,
        strict_compatibility=strict_compatibility,
        drain_seconds=drain_seconds,
        log_level=log_level,
    )
    _run(settings, backend)


def _run(settings: object, backend: Backend) -> None:
    import os

    from serving.server import binary
    from serving.server import process as server
    from serving.server.settings import Settings

    if not isinstance(settings, Settings):
        raise TypeError(f"`settings` must be Settings. Received: {type(settings).__name__}")
    found = binary.find_binary()
    if backend is Backend.binary and found is None:
        line = binary.docker_command(settings.model_dir) if settings.model_dir else "see docs/serving.md"
        raise OSError(
            f"`--backend binary` needs tensorflow_model_server on PATH. Without it, Docker can run it: {line}"
        )
    if backend is not Backend.embedded and found is not None:
        arguments = binary.command(settings, found, os.cpu_count() or 1)
        typer.echo(f"backend: binary ({found})", err=True)
        os.execv(found, arguments)  # noqa: S606  # the server takes this process's place and its signals
    why = "asked for" if backend is Backend.embedded else "tensorflow_model_server is not on PATH"
    typer.echo(f"backend: embedded ({why})", err=True)
    server.run(settings)


def status(
    server: Annotated[str, typer.Option(help="Address, host:port or dns:///host:port.")] = "localhost:8500",
    name: Annotated[str, typer.Option(help="Name of the model.")] = "seghgan",
    tls_ca: Annotated[Path | None, typer.Option(help="Authority that signed the server, PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Client certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Client key, PEM.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the versions of a served model, their states, and what the answering one takes and gives."""
    import json

    from serving.client import SegHGANClient

    with SegHGANClient(server, _tls(tls_ca, tls_cert, tls_key), name) as client:  # type: ignore[arg-type]
        states = client.status()
        served = client.served()
    if as_json:
        versions = {str(number): {"state": state, "error": error} for number, (state, error) in states.items()}
        sizes = {"image_size": served.image_size, "expression_size": served.expression_size}
        typer.echo(json.dumps({"versions": versions, "answers": served.version, **sizes}))
        return
    for number, (state, error) in states.items():
        answers = "  <- answers" if number == served.version else ""
        typer.echo(f"version {number}: {state}{answers}" + (f"\n  {error}" if error else ""))
    typer.echo(f"images of {served.image_size} px, expressions of {served.expression_size} numbers")
    for key, signature in served.signatures.items():
        typer.echo(f"{key}: {', '.join(signature.inputs)} -> {', '.join(signature.outputs)}")


def promote(
    version: Annotated[int, typer.Argument(min=1, help="Version to release; its folder is beside the others.")],
    label: Annotated[str, typer.Option(help="Label to move: canary first, then stable.")] = "canary",
    server: Annotated[
        str, typer.Option(help="Address whose name stands for every server, as seghgan-headless.seghgan:8500.")
    ] = "localhost:8500",
    config_file: Annotated[Path | None, typer.Option(help="The servers' models.config, where it is a file.")] = None,
    config_map: Annotated[
        str | None, typer.Option(metavar="NAMESPACE/NAME", help="The same in a cluster, from inside it.")
    ] = None,
    exports: Annotated[
        Path | None,
        typer.Option(help="Folder of exports that holds the version, where --digest is looked at.", exists=True),
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="SHA-256 of the version's manifest, as `seghgan export --receipt` wrote it.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "seghgan",
    timeout: Annotated[float, typer.Option(help="Seconds that every server may take.")] = 900.0,
    tls_ca: Annotated[Path | None, typer.Option(help="Authority that signed the servers, PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Client certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Client key, PEM.")] = None,
    tls_server_name: Annotated[
        str, typer.Option(help="Name in the servers' certificates; they are asked one by one, by address.")
    ] = "",
) -> None:
    """Release a version: load it beside the old one, wait for every server, then move a label to it.

    Nothing is restarted. A version that a server cannot load is taken back and the labels stay. Back is the same command:

        seghgan promote 2 --label canary --config-file models.config
        seghgan promote 2 --label stable --config-file models.config
        seghgan promote 1 --label stable --config-file models.config      # rollback
    """
    import dataclasses

    from serving.client.channel import TLS
    from serving.release import promote as release
    from serving.release.receipt import check_digest

    if (config_file is None) == (config_map is None):
        raise typer.BadParameter("Give --config-file or --config-map.")
    if (exports is None) != (digest is None):
        raise typer.BadParameter("--exports and --digest belong together.")

    def check() -> None:
        if exports is not None and digest is not None:
            check_digest(exports / str(version), digest)

    store: release.Store
    if config_file is not None:
        store = release.ConfigFile(config_file)
    else:
        namespace, _, map_name = str(config_map).partition("/")
        store = release.ConfigMap(namespace, map_name)
    tls = _tls(tls_ca, tls_cert, tls_key)
    if isinstance(tls, TLS) and not tls.server_name:
        host = server.removeprefix("dns:///").rpartition(":")[0]
        tls = dataclasses.replace(tls, server_name=tls_server_name or host)
    release.promote(store, version, label, server, timeout, name, tls, lambda line: typer.echo(line), check)  # type: ignore[arg-type]


def bench_serve(
    server: Annotated[str, typer.Option(help="Address of the server.")] = "localhost:8500",
    name: Annotated[str, typer.Option(help="Name of the model.")] = "seghgan",
    signature: Annotated[str, typer.Option(help="Signature to call.")] = "serving_uint8",
    clients: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Images a request.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
) -> None:
    """Load a server with made-up images and print throughput and latencies as JSON."""
    import json

    from serving.client.bench import measure

    typer.echo(json.dumps(measure(server, name, signature, clients, batch, seconds)))
