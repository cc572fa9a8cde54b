"""Clients of REST that read nothing, or send too slowly, hold neither a connection nor anybody else."""

import asyncio
import contextlib
import http.client
import json
import select
import socket
import time

import numpy as np
import pytest

from serving.server import rest_server

GET = b"GET /v1/models/seghgan/metadata HTTP/1.1\r\nHost: x\r\n\r\n"
DRIP = b"GET /v1/models/seghgan HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch):
    """Let the kernel take little of an answer, so that it soon takes no more."""
    listen = rest_server.listen

    def small(host, port):
        listening = listen(host, port)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listening

    monkeypatch.setattr(rest_server, "listen", small)


def deaf(port):
    """Return a connection that has sent as many requests as it could and reads no answer."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", port))
    one.settimeout(0.5)  # whatever else is sent by then changes nothing
    try:
        while True:
            one.sendall(GET * 100)
    except (TimeoutError, ConnectionError):
        return one


def cut_off(one):
    """Return whether the server ends a connection that we do not read."""
    poll = select.poll()
    poll.register(one, select.POLLRDHUP)
    return bool(poll.poll(60_000))


def answered(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/v1/models/seghgan")
        return connection.getresponse().status == 200
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()


def dripping(port):
    one = socket.create_connection(("127.0.0.1", port), timeout=60)
    one.sendall(DRIP)
    assert b" 200 " in one.recv(4096)  # its body is of no use to anybody and never ends
    one.sendall(b"x")
    return one


@pytest.mark.parametrize("hold", [deaf, dripping])
def test_connections_that_wait_for_their_client_give_way_to_the_next(
    run_server, rest_ports, export_v1, monkeypatch, hold
):
    monkeypatch.setattr(rest_server, "CONNECTIONS", 3)
    monkeypatch.setattr(rest_server, "READ_SECONDS", 1000.0)
    monkeypatch.setattr(rest_server, "HEADER_SECONDS", 1000.0)
    with run_server(model_dir=export_v1.parent) as (engine, address), contextlib.ExitStack() as stack:
        port = rest_ports[address]
        held = [stack.enter_context(hold(port)) for _ in range(3)]
        end = time.monotonic() + 60
        while not answered(port):  # until the first of them has an answer that it does not take
            assert time.monotonic() < end, "the server is locked"
        assert cut_off(held[0])
        assert all(answered(port) for _ in range(10))
        text = engine.metrics.render().decode()
        assert 'seghgan_shed_total{code="UNAVAILABLE",protocol="rest"}' in text


@pytest.mark.parametrize(("hold", "patience"), [(deaf, "READ_SECONDS"), (dripping, "HEADER_SECONDS")])
def test_a_connection_that_waits_too_long_for_its_client_is_cut_off(
    run_server, rest_ports, export_v1, monkeypatch, hold, patience
):
    monkeypatch.setattr(rest_server, patience, 0.2)
    with run_server(model_dir=export_v1.parent) as (_, address), hold(rest_ports[address]) as held:
        assert cut_off(held)


def test_a_client_that_reads_slowly_gets_its_answer_and_one_that_stops_does_not(embedded, monkeypatch):
    monkeypatch.setattr(rest_server, "READ_SECONDS", 1000.0)
    one = {"image": np.random.default_rng(0).random((32, 32, 3)).tolist(), "expression": [0] * 3, "regions": [0] * 4}
    body = json.dumps({"instances": [one] * 8}).encode()

    async def read():
        server = rest_server.RestServer(embedded[0])
        await server.start()
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            head = f"POST /v1/models/seghgan:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            await loop.sock_sendall(client, head.encode() + body)
            connections = server._server.server_state.connections
            while not connections:
                await asyncio.sleep(0)
            (connection,) = connections
            while not (connection.cycle and connection.cycle.response_complete):
                await asyncio.sleep(0.001)
            left = connection.transport.get_write_buffer_size()
            assert left > 100_000
            while connection.transport.get_write_buffer_size() == left:
                await loop.sock_recv(client, 4096)
            connection._overdue()
            assert connection in connections
            connection._overdue()
            assert connection not in connections
        await server.stop(5.0)

    asyncio.run(asyncio.wait_for(read(), 120))
