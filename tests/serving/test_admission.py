"""Who runs, who waits, who is turned away: admission, deadlines, cancelled calls, and what the metrics tell of it."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving import tensors
from serving.client import SegHGANClient, talk
from serving.server import rest_server
from serving.server.admission import Admission, Limit, Reading
from serving.server.batching import Batching, read_batching
from serving.server.errors import ServingError, scrubbed
from serving.server.metrics import metrics_path
from serving.server.settings import Settings


async def turn(admission: Admission, order: list[int], number: int, deadline: float | None = None) -> None:
    """Wait for a place and note the number; the place is kept."""
    await admission.enter(deadline)
    order.append(number)


async def queued(admission: Admission, count: int) -> None:
    """Let those who came queue up; nothing but turns of the event loop stands between, and few of them."""
    for _ in range(100):
        if admission.queued == count:
            return
        await asyncio.sleep(0)
    pytest.fail(f"{admission.queued} wait, not {count}")


def until(holds: Callable[[], bool]) -> None:
    """Wait for what other threads are about to do; fail where they never do."""
    end = time.monotonic() + 120
    while not holds():
        if time.monotonic() > end:
            pytest.fail("it never came")
        time.sleep(0.005)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until a test moves it."""

    now = 0.0

    def time(self) -> float:
        return self.now


def test_a_full_server_turns_away_at_once_with_a_hint() -> None:
    async def fill() -> ServingError:
        admission = Admission(Limit(2, 2), 0)
        await admission.enter()
        await admission.enter()
        assert admission.full
        with pytest.raises(ServingError) as refused:
            await admission.enter()
        admission.leave()
        admission.leave()
        assert (admission.inside, admission.queued) == (0, 0)
        return refused.value

    refused = asyncio.run(fill())
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.retry_after is not None


def test_those_who_wait_enter_in_order() -> None:
    async def wait() -> list[int]:
        admission, order = Admission(Limit(1, 1), 5), []
        await admission.enter()
        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(turn(admission, order, number)))
            await queued(admission, number + 1)
        for task in tasks:
            admission.leave(1.0)
            await task
        assert admission.inside == 1
        return order

    assert asyncio.run(wait()) == [0, 1, 2, 3]


@pytest.mark.parametrize("gone", ["deadline", "cancel"])
def test_a_caller_that_is_gone_leaves_the_queue_and_never_runs(gone: str) -> None:
    async def wait() -> None:
        admission, order = Admission(Limit(1, 1), 5, clock=loop.time), []
        await admission.enter()
        task = asyncio.create_task(turn(admission, order, 1, 30.0 if gone == "deadline" else None))
        await queued(admission, 1)
        loop.now = 29.0
        await queued(admission, 1)
        assert not task.done()
        loop.now = 31.0
        if gone == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(ServingError) as refused:
                await task
            assert refused.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (order, admission.queued) == ([], 0)
        admission.leave()
        assert admission.inside == 0

    loop = Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(wait())


def test_one_that_is_cancelled_as_its_turn_comes_gives_the_place_on() -> None:
    async def wait() -> None:
        admission, order = Admission(Limit(1, 1), 5), []
        await admission.enter()
        tasks = [asyncio.create_task(turn(admission, order, number)) for number in range(2)]
        await queued(admission, 2)
        admission.leave()
        tasks[0].cancel()
        await tasks[1]
        assert order == [1]

    asyncio.run(wait())


def test_one_that_steps_aside_lets_others_run_and_comes_back_before_all_who_wait() -> None:
    async def wait() -> list[int]:
        admission, order = Admission(Limit(1, 1), 3), []
        await admission.enter()
        tasks = [asyncio.create_task(turn(admission, order, number)) for number in range(2)]
        await queued(admission, 2)
        admission.step_aside()
        await tasks[0]
        assert (admission.inside, admission.aside, admission.queued, admission.full) == (1, 1, 1, False)
        last = asyncio.create_task(turn(admission, order, 2))
        await queued(admission, 2)
        assert admission.full
        back = asyncio.create_task(admission.back())
        await queued(admission, 3)
        for task in (back, tasks[1], last):
            admission.leave()
            await task
        assert (admission.inside, admission.aside, admission.queued) == (1, 0, 0)
        return order

    assert asyncio.run(wait()) == [0, 1, 2]


@pytest.mark.parametrize("gone", ["deadline", "cancel"])
def test_one_that_never_comes_back_takes_no_place(gone: str) -> None:
    async def wait() -> None:
        admission = Admission(Limit(1, 1), 5)
        await admission.enter()
        admission.step_aside()
        await admission.enter()
        back = asyncio.create_task(admission.back(time.monotonic() if gone == "deadline" else None))
        await queued(admission, 1)
        if gone == "cancel":
            back.cancel()
        with pytest.raises(ServingError if gone == "deadline" else asyncio.CancelledError):
            await back
        assert (admission.inside, admission.aside, admission.queued) == (1, 1, 0)

    asyncio.run(wait())


def test_a_wait_that_would_outlast_the_deadline_is_refused_at_once() -> None:
    async def wait() -> None:
        admission = Admission(Limit(1, 1), 5)
        await admission.enter()
        admission.leave(30.0)
        await admission.enter()
        with pytest.raises(ServingError, match="outlast the deadline"):
            await admission.enter(time.monotonic() + 10)

    asyncio.run(wait())


def test_slow_messages_push_out_the_slowest_and_end_in_time() -> None:
    async def never() -> bytes:
        await asyncio.Event().wait()
        return b""

    async def at_once() -> bytes:
        return b"message"

    async def read() -> None:
        reading = Reading(2, 60.0)
        slow = [asyncio.create_task(reading.read(never())) for _ in range(2)]
        await asyncio.sleep(0)
        assert await reading.read(at_once()) == b"message"
        with pytest.raises(ServingError) as refused:
            await slow[0]
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not slow[1].done()
        slow[1].cancel()
        with pytest.raises(ServingError, match=r"did not arrive within 0.01 s"):
            await Reading(2, 0.01).read(never())

    asyncio.run(read())


def _blocked(engine: Any, monkeypatch: pytest.MonkeyPatch, alone: bool = False) -> threading.Event:
    """Make every run of `analyze`, or each that runs `alone`, wait for the returned event."""
    release = threading.Event()
    with engine.models.use("seghgan") as servable:
        endpoint = servable.endpoint("analyze")
    run = endpoint.run

    def wait(*arguments: Any, **options: Any) -> Any:
        if options.get("alone") or not alone:
            release.wait(300)
        return run(*arguments, **options)

    monkeypatch.setattr(endpoint, "run", wait)
    return release


def analyze() -> bytes:
    request = talk.predict_request("seghgan", "analyze", {"image": np.zeros((1, 32, 32, 3), np.float32)})
    return bytes(request.SerializeToString())


def pushback(call: Any) -> int:
    """Return after how many milliseconds gRPC's retries are to come again."""
    return int(dict(call.trailing_metadata())["grpc-retry-pushback-ms"])


def test_overload_is_shed_with_a_time_to_come_again_and_status_calls_still_answer(
    run_server: Callable[..., Any], export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_server(model_dir=export, max_in_flight=2, max_waiting=1) as (engine, address):
        release = _blocked(engine, monkeypatch)
        with grpc.insecure_channel(address) as channel, SegHGANClient(address) as client:
            predict = channel.unary_unary(talk.PREDICT)
            kept = [predict.future(analyze(), timeout=30) for _ in range(3)]
            until(lambda: engine.admission.queued >= 1)
            with pytest.raises(grpc.RpcError) as shed:
                predict(analyze(), timeout=30)
            assert shed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert pushback(shed.value) > 0
            assert client.status() == {1: ("AVAILABLE", "")}
            assert client.served().version == 1
            release.set()
            assert all(future.result() for future in kept)
        text = engine.metrics.render().decode()
        assert 'seghgan_shed_total{code="RESOURCE_EXHAUSTED",protocol="grpc"} 1.0' in text


class Unsent:
    """Requests whose message never comes, until the end."""

    def __init__(self) -> None:
        self._never = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        self._never.wait(60)
        yield from ()

    def end(self) -> None:
        self._never.set()


def test_a_full_server_turns_away_before_the_request_arrives(
    run_server: Callable[..., Any], export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent = Unsent()
    with run_server(model_dir=export, max_in_flight=1, max_waiting=0) as (engine, address):
        release = _blocked(engine, monkeypatch)
        with grpc.insecure_channel(address) as channel:
            kept = channel.unary_unary(talk.PREDICT).future(analyze(), timeout=30)
            until(lambda: engine.admission.inside >= 1)
            sending = channel.stream_unary(talk.PREDICT).future(iter(unsent), timeout=20)
            assert sending.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            unsent.end()
            assert ("x-served-by", "embedded") in list(sending.trailing_metadata())
            assert pushback(sending) > 0
            unknown = channel.unary_unary(f"{talk.PREDICT}s").future(b"", timeout=20)
            assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
            release.set()
            assert kept.result()
        assert 'seghgan_shed_total{code="RESOURCE_EXHAUSTED",protocol="grpc"} 1.0' in engine.metrics.render().decode()


def shed(engine: Any, code: str, protocol: str) -> float:
    found = re.search(
        rf'seghgan_shed_total{{code="{code}",protocol="{protocol}"}} (\S+)', engine.metrics.render().decode()
    )
    return float(found[1]) if found else 0.0


def test_calls_that_send_no_message_lock_nobody_out(run_server: Callable[..., Any], export: Path) -> None:
    unsent, silent = Unsent(), 60
    with run_server(model_dir=export, message_seconds=3.0) as (engine, address):
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as hostile:
            methods = (talk.PREDICT, talk.METADATA, talk.STATUS)
            sending = [hostile.stream_unary(methods[i % 3]).future(iter(unsent), timeout=30) for i in range(silent)]
            with SegHGANClient(address) as client, grpc.insecure_channel(address) as channel:
                assert client.analyze(np.zeros((32, 32, 3), np.uint8)).shape == (3,)
                assert client.status() == {1: ("AVAILABLE", "")}
                assert (
                    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
                )
            codes = {one.code() for one in sending}
            unsent.end()
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert shed(engine, "DEADLINE_EXCEEDED", "grpc") == silent


def test_refusals_of_other_kinds_are_counted_too(run_server: Callable[..., Any], export: Path) -> None:
    with run_server(model_dir=export) as (engine, address), grpc.insecure_channel(address) as channel:
        empty = channel.stream_unary(talk.PREDICT).future(iter(()), timeout=20)
        assert empty.code() is grpc.StatusCode.INVALID_ARGUMENT
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest").future(
            b"", timeout=20
        )
        assert reload.code() is grpc.StatusCode.PERMISSION_DENIED
        assert (shed(engine, "INVALID_ARGUMENT", "grpc"), shed(engine, "PERMISSION_DENIED", "grpc")) == (1, 1)


def test_unknown_methods_broken_requests_and_slow_headers_are_counted_too(
    run_server: Callable[..., Any], rest_ports: dict[str, int], export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_server, "HEADER_SECONDS", 0.2)
    with run_server(model_dir=export) as (engine, address):
        with grpc.insecure_channel(address) as channel:
            for method in ("/tensorflow.serving.PredictionService/Paint", "/nobody/Predict"):
                call = channel.unary_unary(method).future(b"", timeout=20)
                assert call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert shed(engine, "UNIMPLEMENTED", "grpc") == 2
        for sent, code in ((b"not HTTP\r\n\r\n", "HTTP_400"), (b"GET / HTTP/1.1\r\n", "DEADLINE_EXCEEDED"), (b"", "")):
            with socket.create_connection(("127.0.0.1", rest_ports[address]), timeout=60) as one:
                one.sendall(sent)
                while one.recv(1000):
                    pass
            assert not code or shed(engine, code, "rest") == 1
        assert sum(shed(engine, code, "rest") for code in ("HTTP_400", "DEADLINE_EXCEEDED", "UNAVAILABLE")) == 2


def test_refusals_of_every_kind_are_counted_once(
    run_server: Callable[..., Any], rest_ports: dict[str, int], export: Path
) -> None:
    refused = {
        ("GET", "/v1/models/other"): (404, "NOT_FOUND"),
        ("GET", "/v1/models/seghgan/versions/9/metadata"): (404, "NOT_FOUND"),
        ("GET", "/v1/models/seghgan:predict"): (400, "INVALID_ARGUMENT"),
        ("POST", "/v1/models/seghgan"): (400, "INVALID_ARGUMENT"),
        ("GET", "/v1/nothing"): (400, "INVALID_ARGUMENT"),
        ("GET", "/no-page.html"): (404, "HTTP_404"),
        ("POST", "/manifest.json"): (405, "HTTP_405"),
    }
    with run_server(model_dir=export) as (engine, address):
        connection = http.client.HTTPConnection("127.0.0.1", rest_ports[address], timeout=20)
        for number, ((method, path), (status, _)) in enumerate(refused.items(), 1):
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            assert (path, answer.status) == (path, status)
            assert sum(shed(engine, code, "rest") for code in {code for _, code in refused.values()}) == number
        connection.close()
        with grpc.insecure_channel(address) as channel:
            unknown = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "other"})
            call = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus").future(
                unknown.SerializeToString(), timeout=20
            )
            assert call.code() is grpc.StatusCode.NOT_FOUND
        assert shed(engine, "NOT_FOUND", "grpc") == 1


def test_bodies_that_drip_lock_nobody_out(
    run_server: Callable[..., Any], rest_ports: dict[str, int], export: Path
) -> None:
    head = b"POST /v1/models/seghgan:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    body = json.dumps({"signature_name": "analyze", "instances": np.zeros((1, 32, 32, 3)).tolist()})
    with run_server(model_dir=export, message_seconds=3.0) as (engine, address), contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", rest_ports[address]), timeout=30))
            for _ in range(40)
        ]
        for one in slow:
            one.sendall(head)
        connection = http.client.HTTPConnection("127.0.0.1", rest_ports[address], timeout=20)
        connection.request("POST", "/v1/models/seghgan:predict", body)
        assert connection.getresponse().status == 200
        connection.close()
        assert {one.recv(20).split()[1] for one in slow} == {b"504"}
        assert shed(engine, "DEADLINE_EXCEEDED", "rest") == 40


def test_cancelled_and_late_calls_are_dropped_before_they_run(
    run_server: Callable[..., Any], export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_server(model_dir=export, max_in_flight=1, max_waiting=60) as (engine, address):
        release = _blocked(engine, monkeypatch)
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary(talk.PREDICT)
            first = predict.future(analyze(), timeout=30)
            until(lambda: engine.admission.inside >= 1)
            waiting = [predict.future(analyze(), timeout=30) for _ in range(50)]
            until(lambda: engine.admission.queued >= 50)
            for future in waiting:
                future.cancel()
            until(lambda: not engine.admission.queued)
            late = predict.future(analyze(), timeout=0.1)
            assert late.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
            release.set()
            assert first.result()
        assert engine.runs == 1


def test_requests_that_arrive_together_run_as_one_batch(
    run_server: Callable[..., Any], export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight come while one runs alone: a batch that waits ten minutes for its eighth, and holds no padding, is theirs."""
    patient = tmp_path / "batching.pbtxt"
    patient.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 600000000 } num_batch_threads { value: 1 }"
    )
    settings = {"batching_parameters_file": patient, "max_in_flight": 9, "enable_model_warmup": False}
    with run_server(model_dir=export, **settings) as (engine, address):
        release = _blocked(engine, monkeypatch, alone=True)
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary(talk.PREDICT, response_deserializer=talk.REPLIES[talk.PREDICT].FromString)
            futures = []
            for i in range(9):
                picture = np.full((1, 32, 32, 3), i / 10, np.float32)
                request = talk.predict_request("seghgan", "analyze", {"image": picture})
                futures.append(predict.future(request.SerializeToString(), timeout=300))
                until(lambda: engine.admission.inside >= 1)
            values = [tensors.decode(future.result().outputs["expression"])[0, 0] for future in futures[1:]]
            assert not futures[0].done()
            release.set()
            values.insert(0, tensors.decode(futures[0].result().outputs["expression"])[0, 0])
        np.testing.assert_allclose(values, [(i / 10 + 1) / 2 for i in range(9)], atol=1e-5)
        text = engine.metrics.render().decode()
    sizes = re.findall(r'seghgan_batched_examples\{batch_size="(\d+)",.*signature="analyze",version="1"\} (\S+)', text)
    assert sizes == [("8", "8.0")]


def test_metrics_have_tensorflow_servings_names_and_ours(embedded: Any) -> None:
    engine, address = embedded
    with SegHGANClient(address) as client:
        client.analyze(np.zeros((32, 32, 3), np.uint8))
    text = engine.metrics.render().decode()
    assert ':tensorflow:serving:request_count{model_name="seghgan",status="OK"}' in text
    assert ":tensorflow:serving:request_latency_bucket" in text
    assert 'seghgan_build_info{server="embedded"' in text
    assert 'seghgan_requests_total{code="OK",model="seghgan",protocol="grpc",signature="analyze",version="1"}' in text
    assert "seghgan_queue_seconds_count" in text
    assert 'seghgan_version_state{model="seghgan",version="1"} 30.0' in text
    assert engine.metrics_path == "/monitoring/prometheus/metrics"


def test_strict_compatibility_takes_what_pictures_may_not_hold(run_server: Callable[..., Any], export: Path) -> None:
    with run_server(model_dir=export, strict_compatibility=True) as (_, address), SegHGANClient(address) as client:
        answer = client.predict("analyze", {"image": np.full((1, 32, 32, 3), 7.0, np.float32)})
        assert answer.outputs["expression"].shape == (1, 3)
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary(talk.PREDICT, response_deserializer=talk.REPLIES[talk.PREDICT].FromString)
            sent = predict(analyze(), timeout=20).outputs["expression"]
        assert (len(sent.float_val), sent.tensor_content) == (3, b"")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size { value: 0 }", "positive"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "end with max_batch_size"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 2", "must grow"),
        ("pad_variable_length_inputs: true", "pad_variable_length_inputs"),
        ("no_such_field: 1", "BatchingParameters"),
    ],
)
def test_impossible_batching_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "batching").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_batching(tmp_path / "batching")


def test_the_shipped_configuration_is_what_the_documentation_says(tmp_path: Path) -> None:
    assert read_batching() == Batching(8, 2000, 2, 2, (1, 2, 3, 4, 5, 6, 7, 8))
    off = tmp_path / "off"
    off.write_text("prometheus_config { enable: false }")
    assert metrics_path(off) is None


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither"):
        Settings()
    with pytest.raises(ValueError, match="belong together"):
        Settings(model_dir=tmp_path, tls_key=tmp_path)
    with pytest.raises(ValueError, match="need `tls_client_ca`"):
        Settings(model_dir=tmp_path, client_identities=("a",))


def test_error_texts_lose_paths_and_node_names_and_stay_short() -> None:
    assert scrubbed("cannot open /home/me/models/1/saved_model.pb") == "cannot open <path>"
    assert len(scrubbed("x" * 5000)) < 1100
