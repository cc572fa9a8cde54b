"""How much memory requests hold: who waits for it, in which order, what is refused, and what of it is an error."""

import asyncio
import http.client
import io
import json
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from serving.client import SegHGANClient
from serving.client.errors import InvalidRequest
from serving.server import rest_json
from serving.server.engine import Engine, Question
from serving.server.errors import ServingError
from serving.server.memory import Memory, edit_bytes
from serving.server.rest_routes import Rest
from serving.server.servable import Endpoint
from serving.signature import message_bytes


def test_memory_is_held_by_one_and_waited_for_by_others() -> None:
    memory = Memory(100)
    with memory.hold(60, None), pytest.raises(ServingError, match="deadline"), memory.hold(60, time.monotonic()):
        pass
    with memory.hold(60, None), memory.hold(40, time.monotonic()):
        assert memory.held == 100
    assert memory.held == 0
    with pytest.raises(ServingError, match="scale them down") as refused, memory.hold(101, None):
        pass
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_whoever_takes_little_memory_does_not_overtake_whoever_waits_for_much() -> None:
    memory = Memory(100)

    def take(count: int) -> None:
        with memory.hold(count, None):
            pass

    def waiting(count: int) -> None:
        end = time.monotonic() + 60
        while memory.waiting < count:
            assert time.monotonic() < end
            time.sleep(0.001)

    with memory.hold(60, None):
        large, small = (threading.Thread(target=take, args=(count,)) for count in (60, 30))
        large.start()
        waiting(1)
        small.start()
        waiting(2)
        take(0)
        assert memory.held == 60
    large.join(60)
    small.join(60)
    assert (memory.held, memory.waiting) == (0, 0)


def test_messages_are_sent_at_once_as_far_as_memory_goes(run_server: Callable[..., Any], export: Path) -> None:
    for room, expected in ((20, 20), (1, 12), (1000, 128)):  # 12 run or wait
        body = (message_bytes(32) * 4 // 3) + (1 << 20)
        with run_server(model_dir=export, max_bytes_in_flight=room * body) as (engine, _):
            assert engine.reading.most == expected


def test_a_deadline_that_passes_while_others_hold_the_memory_is_no_error_of_the_server(
    run_server: Callable[..., Any], export: Path
) -> None:
    inputs = {"image": np.zeros((1, 32, 32, 3), np.float32)}
    asked = Question("seghgan", lambda _: inputs, "analyze")

    def ask(engine: Engine, deadline: float) -> int:
        answer = engine.predict(lambda: asked, lambda given: given.version, deadline, weight=lambda: 1)
        return asyncio.run(answer)

    with run_server(model_dir=export) as (engine, _):
        with (
            engine.memory.hold(engine.memory.most, None),
            pytest.raises(ServingError, match="before the request could run"),
        ):
            ask(engine, time.monotonic() + 1.0)
        assert ask(engine, time.monotonic() + 1000.0) == 1
        text = engine.metrics.render().decode()
    assert 'seghgan_shed_total{code="DEADLINE_EXCEEDED",protocol="grpc"} 1.0' in text
    counts = [line for line in text.splitlines() if "request_count{" in line]
    assert counts == [':tensorflow:serving:request_count{model_name="seghgan",status="OK"} 1.0']


def test_a_caller_that_is_gone_leaves_the_queue_for_memory_and_its_place(
    run_server: Callable[..., Any], export: Path
) -> None:
    asked = Question("seghgan", lambda _: {"image": np.zeros((1, 32, 32, 3), np.float32)}, "analyze")

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.005)

    async def come_and_go(engine: Engine) -> None:
        call = asyncio.ensure_future(engine.predict(lambda: asked, lambda given: given, weight=lambda: 1))
        await until(lambda: engine.memory.waiting == 1)
        call.cancel()
        await until(lambda: engine.memory.waiting == engine.admission.inside == engine.admission.aside == 0)

    with run_server(model_dir=export) as (engine, _):
        with engine.memory.hold(engine.memory.most, None):
            asyncio.run(come_and_go(engine))
        assert engine.runs == 0
        assert 'seghgan_shed_total{code="CANCELLED",protocol="grpc"} 1.0' in engine.metrics.render().decode()


def test_a_small_call_is_answered_while_large_photos_wait_for_memory_and_they_are_answered_after_it(
    run_server: Callable[..., Any], export: Path
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 200)).save(file, "PNG")
    with (
        run_server(model_dir=export, max_in_flight=1, max_waiting=2) as (engine, address),
        SegHGANClient(address) as client,
        futures.ThreadPoolExecutor(2) as pool,
    ):
        with engine.memory.hold(engine.memory.most, None):
            large = [pool.submit(client.edit, file.getvalue(), [0.0, 0.0, 0.0]) for _ in range(2)]
            end = time.monotonic() + 60
            while engine.memory.waiting < 2 or engine.admission.inside:
                assert time.monotonic() < end
                time.sleep(0.005)
            assert client.analyze(np.zeros((32, 32, 3), np.uint8)).shape == (3,)
            assert (engine.memory.waiting, engine.admission.aside, engine.runs) == (2, 2, 1)
        assert all(one.result(60) for one in large)
        while engine.admission.inside:
            time.sleep(0.005)
        assert (engine.memory.held, engine.admission.aside) == (0, 0)


def test_the_body_of_a_rest_request_is_let_go_before_its_model_runs(
    run_server: Callable[..., Any], rest_ports: dict[str, int], export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = threading.Event()
    seen = []

    class Body(bytes):
        def __del__(self) -> None:
            gone.set()

    async def read(rest: Rest, request: Any) -> tuple[bytes, bool]:
        body, zipped = await whole(rest, request)
        return Body(body), zipped

    def run(endpoint: Endpoint, *given: Any, **named: Any) -> Any:
        seen.append(gone.is_set())
        return runs(endpoint, *given, **named)

    whole, parse, runs = Rest._body, rest_json.parse, Endpoint.run
    with run_server(model_dir=export) as (_, address):
        monkeypatch.setattr(Rest, "_body", read)
        monkeypatch.setattr(rest_json, "parse", lambda body: parse(bytes(body)))
        monkeypatch.setattr(Endpoint, "run", run)
        picture = {"signature_name": "analyze", "instances": np.zeros((1, 32, 32, 3)).tolist()}
        connection = http.client.HTTPConnection("127.0.0.1", rest_ports[address], timeout=60)
        connection.request("POST", "/v1/models/seghgan:predict", json.dumps(picture))
        assert connection.getresponse().status == 200
        connection.close()
    assert seen == [True]


def test_json_is_not_read_before_there_is_memory_for_what_it_holds(
    run_server: Callable[..., Any], rest_ports: dict[str, int], export: Path
) -> None:
    lists = b'{"instances": [' + b"[]," * 1_500_000 + b"[]]}"
    values = b'{"instances": [' + b"1," * 12_000_000 + b"1]}"
    picture = np.zeros((8, 32, 32, 3)).tolist()
    pictures = json.dumps({"signature_name": "analyze", "instances": picture}).encode()
    with run_server(model_dir=export, max_bytes_in_flight=64 << 20) as (engine, address):

        def ask(body: bytes) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", rest_ports[address], timeout=60)
            connection.request("POST", "/v1/models/seghgan:predict", body)
            answer = connection.getresponse()
            found = answer.status, answer.read().decode()
            connection.close()
            return found

        status, text = ask(lists)
        assert (status, "must fit the server's memory" in text) == (400, True)
        status, text = ask(values)
        assert (status, "may hold at most" in text) == (400, True)
        with futures.ThreadPoolExecutor(1) as pool:
            with engine.memory.hold(engine.memory.most, None):
                asked = pool.submit(ask, pictures)
                end = time.monotonic() + 25
                while not engine.memory.waiting:
                    assert time.monotonic() < end
                    time.sleep(0.005)
            assert asked.result(60)[0] == 200
        assert engine.memory.held == 0


def test_photos_beyond_the_memory_are_refused_by_their_headers(run_server: Callable[..., Any], export: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 200)).save(file, "PNG")
    with (
        run_server(model_dir=export, max_bytes_in_flight=edit_bytes(299 * 200)) as (_, address),
        SegHGANClient(address) as client,
        pytest.raises(InvalidRequest, match="scale them down"),
    ):
        client.edit(file.getvalue(), [0.0, 0.0, 0.0])
