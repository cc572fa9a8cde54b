"""The commands `serve`, `status`, `promote` and `bench-serve`; TensorFlow is imported only once a server starts."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from serving.client import TLS


Name = Annotated[str, typer.Option(help="Name of the model.")]


def taking(name: str, make: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of `make` instead of its parameter `name`, which becomes a call of `make` with them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        told, shared = inspect.signature(command), inspect.signature(make).parameters

        @wraps(command)
        def run(**given: Any) -> Any:
            made = partial(make, **{key: given.pop(key) for key in shared})
            return command(**given, **{name: made})

        kept = [*(each for each in told.parameters.values() if each.name != name), *shared.values()]
        run.__signature__ = told.replace(parameters=kept)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in kept}
        return run

    return decorate


def tls_of(
    tls_ca: Annotated[Path | None, typer.Option(help="Authority that signed the server, PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Client certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Client key, PEM.")] = None,
    tls_server_name: Annotated[
        str, typer.Option(help="Name in the server's certificate, where it is not the address.")
    ] = "",
) -> "TLS | None":
    """Return the TLS settings of these files, None where there are none."""
    from serving.client import TLS

    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key belong together.")
    if tls_ca is None and tls_cert is None:
        return None
    pem = [path.read_bytes() if path else None for path in (tls_ca, tls_cert, tls_key)]
    return TLS(pem[0], pem[1], pem[2], tls_server_name)


@taking("tls", tls_of)
def asked(
    tls: Callable[[], "TLS | None"],
    version: Annotated[int | None, typer.Option(min=0, help="Version to ask, where it is not the newest.")] = None,
    label: Annotated[str | None, typer.Option(help="Label to ask, as stable.")] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that a server's answer may take.")] = 30.0,
) -> dict[str, Any]:
    """Return what a client is made with, but for the address and the model's name."""
    return {"tls": tls(), "version": version, "label": label, "timeout": timeout}


@taking("about", asked)
def connection(
    about: Callable[[], dict[str, Any]],
    server: Annotated[str, typer.Option("--server", help="Address, host:port or dns:///host:port.")] = "localhost:8500",
    name: Name = "seghgan",
) -> dict[str, Any]:
    """Return what a client is made with."""
    return {"target": server, "model": name, **about()}


def serve(context: typer.Context) -> None:
    """Serve an export over gRPC and REST until SIGTERM; `seghgan serve --help` shows its options."""
    from serving.server.process import main

    raise typer.Exit(main(context.args, "seghgan serve"))


SERVE = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""What typer is told, so that the server's own parser sees every argument."""


@taking("connect", connection)
def status(
    connect: Callable[[], dict[str, Any]], as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show the versions of a served model, their states, and what the answering one takes and gives."""
    import json

    from serving.client import SegHGANClient

    with SegHGANClient(**connect()) as client:
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


@taking("client_tls", tls_of)
def promote(
    client_tls: Callable[[], "TLS | None"],
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
    name: Name = "seghgan",
    timeout: Annotated[float, typer.Option(help="Seconds that every server may take.")] = 900.0,
) -> None:
    """Release a version: load it beside the old one, wait for every server, then move a label to it.

    Nothing is restarted. A version that a server cannot load is taken back and the labels stay. Back is the same command:

        seghgan promote 2 --label canary --config-file models.config
        seghgan promote 2 --label stable --config-file models.config
        seghgan promote 1 --label stable --config-file models.config      # rollback
    """
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
    host = server.removeprefix("dns:///").rpartition(":")[0]  # servers are asked one by one, by their addresses
    tls = client_tls()
    if tls is not None and not tls.server_name:
        tls = dataclasses.replace(tls, server_name=host)
    release.promote(store, version, label, server, timeout, name, tls, lambda line: typer.echo(line), check)


@taking("connect", connection)
def bench_serve(
    connect: Callable[[], dict[str, Any]],
    signature: Annotated[str, typer.Option(help="Signature to call.")] = "serving_uint8",
    clients: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="Images a request.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
) -> None:
    """Load a server with made-up images and print throughput and latencies as JSON."""
    import json

    from serving.client import Retry, SegHGANClient
    from serving.client.bench import measure

    with SegHGANClient(**connect(), retry=Retry(attempts=1)) as client:
        typer.echo(json.dumps(measure(client, signature, clients, batch, seconds)))
