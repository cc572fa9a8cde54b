"""Who runs, who waits, who is turned away: the gate, deadlines, cancelled calls, and what the metrics tell of it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving import tensors
from serving.client import SegHGANClient, talk
from serving.server.admission import Gate
from serving.server.batching import Batching, read_batching
from serving.server.errors import ServingError, scrubbed
from serving.server.metrics import metrics_path
from serving.server.settings import Settings


def hold(gate: Gate, count: int) -> tuple[threading.Event, list[threading.Thread]]:
    """Occupy `count` places until the event is set."""
    release = threading.Event()
    inside = threading.Barrier(count + 1)

    def run() -> None:
        with gate.enter():
            inside.wait(10)
            release.wait(10)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    return release, threads


def test_a_full_gate_turns_away_at_once_with_a_hint() -> None:
    gate = Gate(2, 0)
    release, threads = hold(gate, 2)
    with pytest.raises(ServingError) as refused, gate.enter():
        pass
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.retry_after is not None
    release.set()
    for thread in threads:
        thread.join()
    assert (gate.inside, gate.queued) == (0, 0)


def test_those_who_wait_enter_in_order() -> None:
    gate = Gate(1, 5)
    release, threads = hold(gate, 1)
    order: list[int] = []

    def enter(number: int) -> None:
        with gate.enter():
            order.append(number)

    for number in range(4):
        thread = threading.Thread(target=enter, args=(number,))
        thread.start()
        threads.append(thread)
        while gate.queued <= number:
            time.sleep(0.001)
    release.set()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3]


@pytest.mark.parametrize("gone", ["deadline", "cancel"])
def test_a_caller_that_is_gone_leaves_the_queue_and_never_runs(gone: str) -> None:
    gate = Gate(1, 5)
    release, threads = hold(gate, 1)
    ran = False
    deadline = time.monotonic() + 0.05 if gone == "deadline" else None
    with pytest.raises(ServingError) as refused, gate.enter(deadline, lambda: gone != "cancel" or not gate.queued):
        ran = True
    wanted = grpc.StatusCode.DEADLINE_EXCEEDED if gone == "deadline" else grpc.StatusCode.CANCELLED
    assert refused.value.code is wanted
    assert not ran
    assert gate.queued == 0
    release.set()
    threads[0].join()
    assert gate.inside == 0


def test_a_wait_that_would_outlast_the_deadline_is_refused_at_once() -> None:
    gate = Gate(1, 5)
    with gate.enter():
        time.sleep(0.2)
    release, threads = hold(gate, 1)
    with pytest.raises(ServingError, match="outlast the deadline"), gate.enter(time.monotonic() + 0.1):
        pass
    release.set()
    threads[0].join()


def test_an_error_inside_gives_the_place_back() -> None:
    gate = Gate(1, 0)
    for _ in range(3):
        with pytest.raises(KeyError), gate.enter():
            raise KeyError
    assert gate.inside == 0


def _blocked(engine: Any, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make every run of the graph wait for the returned event."""
    release = threading.Event()
    with engine.models.use("seghgan") as servable:
        run = servable.run

    def wait(*arguments: Any, **options: Any) -> Any:
        release.wait(20)
        return run(*arguments, **options)

    monkeypatch.setattr(servable, "run", wait)
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
            while engine.gate.queued < 1:
                time.sleep(0.005)
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


def test_a_full_server_turns_away_before_the_request_arrives(run_server: Callable[..., Any], export: Path) -> None:
    never = threading.Event()

    def unsent() -> Iterator[bytes]:
        never.wait(30)
        yield analyze()

    with run_server(model_dir=export, max_in_flight=1, max_waiting=0) as (engine, address):
        with engine.gate.enter(), grpc.insecure_channel(address) as channel:
            sending = channel.stream_unary(talk.PREDICT).future(unsent(), timeout=20)
            assert sending.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            never.set()
            assert ("x-served-by", "embedded") in list(sending.trailing_metadata())
            assert pushback(sending) > 0
            unknown = channel.unary_unary(f"{talk.PREDICT}s").future(b"", timeout=20)
            assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
        assert 'seghgan_shed_total{code="RESOURCE_EXHAUSTED",protocol="grpc"} 1.0' in engine.metrics.render().decode()


def test_cancelled_and_late_calls_are_dropped_before_they_run(
    run_server: Callable[..., Any], export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_server(model_dir=export, max_in_flight=1, max_waiting=60) as (engine, address):
        release = _blocked(engine, monkeypatch)
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary(talk.PREDICT)
            first = predict.future(analyze(), timeout=30)
            while engine.gate.inside < 1:
                time.sleep(0.005)
            waiting = [predict.future(analyze(), timeout=30) for _ in range(50)]
            while engine.gate.queued < 50:
                time.sleep(0.005)
            for future in waiting:
                future.cancel()
            while engine.gate.queued:
                time.sleep(0.005)
            late = predict.future(analyze(), timeout=0.1)
            assert late.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
            release.set()
            assert first.result()
        assert engine.runs == 1


def test_requests_that_arrive_together_run_as_one_batch(
    run_server: Callable[..., Any], export: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "batching.pbtxt"
    slow.write_text(
        "max_batch_size { value: 8 } allowed_batch_sizes: 8 batch_timeout_micros { value: 200000 } num_batch_threads { value: 1 }"
    )
    with run_server(model_dir=export, batching_parameters_file=slow, max_in_flight=9) as (engine, address):
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary(talk.PREDICT, response_deserializer=talk.REPLIES[talk.PREDICT].FromString)
            futures = []
            for i in range(9):
                picture = np.full((1, 32, 32, 3), i / 10, np.float32)
                request = talk.predict_request("seghgan", "analyze", {"image": picture})
                futures.append(predict.future(request.SerializeToString(), timeout=30))
            values = [tensors.decode(future.result().outputs["expression"])[0, 0] for future in futures]
        np.testing.assert_allclose(values, [(i / 10 + 1) / 2 for i in range(9)], atol=1e-5)
        text = engine.metrics.render().decode()
    assert 'seghgan_batched_examples{batch_size="8",model="seghgan",signature="analyze",version="1"}' in text


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
