"""The client edits what people have, bounds what it sends, retries what may be retried, and says what went wrong."""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyexiv2
import pytest
from fake_export import write_export
from PIL import Image

from seghgan_tf.saving import SOURCE_TYPE
from serving.client import AsyncSegHGANClient, Retry, SegHGANClient, aio, talk
from serving.client.errors import (
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ServerBusy,
    ServerUnavailable,
)
from serving.server.servable import Endpoint

FULL = [1.0, 1.0, 1.0]


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    with SegHGANClient(address) as opened:
        yield opened


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_arrays_come_back_as_the_array_they_were(client: SegHGANClient, face: np.ndarray) -> None:
    edited = client.edit(face, FULL)
    assert edited.dtype == np.uint8
    np.testing.assert_array_equal(edited, np.clip(face + 63.75, 0, 255).round().astype(np.uint8))
    real = face.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(client.edit(real, FULL), np.clip(real + 0.5, -1, 1), atol=1e-6)


def test_only_the_chosen_region_changes(client: SegHGANClient, face: np.ndarray) -> None:
    edited = client.edit(face, FULL, regions=["mouth"])
    np.testing.assert_array_equal(edited[:21], face[:21])
    assert (edited[22:] != face[22:]).any()
    np.testing.assert_array_equal(client.edit(face, FULL, regions=[]), face)


def test_pil_images_and_files_keep_their_own_size(client: SegHGANClient) -> None:
    photo = np.random.default_rng(1).integers(0, 190, (50, 70, 3), np.uint8)
    edited = client.edit(Image.fromarray(photo), FULL)
    assert edited.size == (70, 50)
    np.testing.assert_array_equal(np.asarray(edited), photo + 64)
    as_png = client.edit(png(photo), FULL)
    assert as_png.startswith(b"\x89PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(as_png))), photo + 64)
    assert client.edit(png(photo), FULL, jpeg_quality=90).startswith(b"\xff\xd8\xff")


def test_an_edited_file_says_so_inside_and_keeps_the_servers_pixels(client: SegHGANClient, face: np.ndarray) -> None:
    inputs = {"image_bytes": np.array([png(face)], object), "expression": np.ones((1, 3), np.float32)}
    inputs |= {"regions": np.array([[1, 0, 0, 0]], np.float32), "frames": np.zeros((1, 2, 3), np.float32)}
    for quality in (0, 90):
        asked = inputs | {"jpeg_quality": np.array([quality], np.int32)}
        bare = bytes(client.predict("edit_bytes", asked).outputs["edited_bytes"][0])
        edited = client.edit(png(face), FULL, jpeg_quality=quality)
        (again,) = client.edit_many([bytearray(png(face))], FULL, jpeg_quality=quality)
        assert edited == again
        assert [digital_source(file) for file in (bare, edited)] == [None, SOURCE_TYPE]
        assert edited.startswith(b"\xff\xd8\xff" if quality else b"\x89PNG")
        assert edited.endswith(bare[33:])
        np.testing.assert_array_equal(*(Image.open(io.BytesIO(file)) for file in (bare, edited)))


def digital_source(file: bytes) -> str | None:
    """Return what another program reads in a file of how its picture came about."""
    with pyexiv2.ImageData(file) as picture:
        return picture.read_xmp().get("Xmp.iptcExt.DigitalSourceType")


def test_segment_and_analyze(client: SegHGANClient, face: np.ndarray) -> None:
    labels, regions = client.segment(face)
    assert (labels.shape, labels.dtype, regions.shape) == ((32, 32), np.uint8, (32, 32, 3))
    assert client.analyze(face).shape == (3,)
    assert client.analyze(Image.fromarray(face)).shape == (3,)


def test_the_server_tells_what_an_expression_holds(client: SegHGANClient) -> None:
    assert client.labels() == ("AU06", "AU12", "AU25")


def test_edit_many_keeps_order_and_reads_no_further_ahead_than_it_may(client: SegHGANClient) -> None:
    taken = []

    def pictures() -> Any:
        for i in range(30):
            taken.append(i)
            yield np.full((32, 32, 3), i, np.uint8)

    edited = client.edit_many(pictures(), FULL, batch_size=2, in_flight=3)
    assert next(edited)[0, 0, 0] == 64
    assert len(taken) <= 2 * 3 + 1
    assert [one[0, 0, 0] for one in edited] == [i + 64 for i in range(1, 30)]


def test_edit_many_over_a_folder_never_has_more_calls_in_flight_than_it_may(
    run_server: Any, export_v1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(24):
        Image.fromarray(np.full((20, 24, 3), i, np.uint8)).save(tmp_path / f"{i:02}.png")
    lock, running, seen = threading.Lock(), [], []
    run = Endpoint.run

    def watched(*given: Any, **named: Any) -> Any:
        with lock:
            running.append(1)
            seen.append(len(running))
        try:
            time.sleep(0.02)  # long enough for calls to overlap
            return run(*given, **named)
        finally:
            with lock:
                running.pop()

    with (
        run_server(model_dir=export_v1.parent, max_in_flight=12, max_waiting=0) as (_, target),
        SegHGANClient(target) as client,
    ):
        monkeypatch.setattr(Endpoint, "run", watched)
        files = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
        edited = list(client.edit_many(files, FULL, batch_size=2, in_flight=3))
    assert [np.asarray(Image.open(io.BytesIO(one)))[0, 0, 0] for one in edited] == [i + 64 for i in range(24)]
    assert len(seen) == 12
    assert 1 < max(seen) <= 3


def test_edit_many_takes_mixed_kinds(client: SegHGANClient, face: np.ndarray) -> None:
    edited = list(client.edit_many([face, png(face), Image.fromarray(face), face], FULL))
    assert [type(one) for one in edited] == [np.ndarray, bytes, Image.Image, np.ndarray]


def test_what_does_not_fit_the_model_is_refused_before_it_is_sent(client: SegHGANClient, face: np.ndarray) -> None:
    with pytest.raises(ValueError, match="`expression` must have 3 numbers"):
        client.edit(face, [1.0])
    with pytest.raises(ValueError, match="`regions` must be among"):
        client.edit(face, FULL, regions=["ears"])
    with pytest.raises(ValueError, match="`image` must have shape"):
        client.edit(face[:16], FULL)
    with pytest.raises(ValueError, match="send fewer images at once, or scale a photo down"):
        client.predict("analyze", {"image": np.zeros((3000, 32, 32, 3), np.float32)})


def test_errors_have_types_that_say_what_to_do(client: SegHGANClient, address: str, face: np.ndarray) -> None:
    with pytest.raises(ValueError, match="`photo` must be a picture, as a JPEG"):
        client.edit(b"no photo" * 20, FULL)
    with pytest.raises(
        InvalidRequest, match=r": `image_bytes` must be a photo of 16 to 2000 px a side. Received: 2001 16$"
    ):
        client.edit(png(np.zeros((16, 2001, 3), np.uint8)), FULL)
    with SegHGANClient(address, model="nobody") as other, pytest.raises(ModelNotFound, match="seghgan status"):
        other.analyze(face)
    with pytest.raises(ModelNotFound, match="paint"):
        client.predict("paint", {})
    with SegHGANClient("localhost:1", timeout=2.0) as nobody, pytest.raises(ServerUnavailable, match="seghgan serve"):
        nobody.status()
    with pytest.raises(ValueError, match="several"):
        SegHGANClient(address, version=1, label="stable")


def noise_jpeg() -> bytes:
    """Return a JPEG whose PNG is about nine times as large."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG", quality=10)
    return file.getvalue()


def test_an_answer_beyond_the_message_limit_says_what_to_do(run_server: Any, export_v1: Path) -> None:
    with (
        run_server(model_dir=export_v1.parent, max_message_bytes=100_000) as (_, target),
        SegHGANClient(target) as client,
    ):
        with pytest.raises(
            InvalidRequest, match=r"fit a message of 100000 bytes.*jpeg_quality.*an answer of \d{6} bytes"
        ):
            client.edit(noise_jpeg(), FULL)
        assert client.edit(noise_jpeg(), FULL, jpeg_quality=10).startswith(b"\xff\xd8\xff")


def test_a_request_beyond_the_servers_own_limit_says_what_to_do(run_server: Any, export_v1: Path) -> None:
    with (
        run_server(model_dir=export_v1.parent, max_message_bytes=20_000) as (_, target),
        SegHGANClient(target) as client,
        pytest.raises(InvalidRequest, match=r"larger than max.*fewer images at once.*jpeg_quality=90"),
    ):
        client.predict("analyze", {"image": np.zeros((2, 32, 32, 3), np.float32)})


def test_the_answering_version_can_be_chosen(address: str, face: np.ndarray) -> None:
    with SegHGANClient(address, version=1) as client:
        assert client.analyze(face).shape == (3,)
    with SegHGANClient(address, version=9) as client, pytest.raises(ModelNotFound, match="Specific"):
        client.analyze(face)
    with SegHGANClient(address, label="nightly") as client, pytest.raises(InvalidRequest):
        client.analyze(face)


def test_the_canary_split_is_sticky_and_has_its_share() -> None:
    labels = [talk.canary_label(f"user {i}", 0.2) for i in range(2000)]
    assert labels == [talk.canary_label(f"user {i}", 0.2) for i in range(2000)]
    assert 320 < labels.count("canary") < 480
    grown = [talk.canary_label(f"user {i}", 0.5) for i in range(2000)]
    assert all(later == "canary" for first, later in zip(labels, grown, strict=True) if first == "canary")


def test_the_canary_split_holds_in_live_traffic(
    run_server: Any, export: Path, export_v2: Path, tmp_path: Path, face: np.ndarray
) -> None:
    shutil.copytree(export_v2, export / "2")
    path = tmp_path / "models.config"
    path.write_text(
        f"""model_config_list {{ config {{ name: "seghgan" base_path: "{export}" model_platform: "tensorflow"
        model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
        version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }} }} }}"""
    )
    inputs = {"image": face[None].astype(np.float32) / 255}
    users = [f"user {i}" for i in range(200)]
    with run_server(model_config_file=path) as (_, target):
        answered = []
        for _ in range(2):  # a second client, as after a restart of the caller
            with SegHGANClient(target, canary=0.2) as client:
                answered.append([client.predict("analyze", inputs, key=user).version for user in users])
                with pytest.raises(ValueError, match="`key` must name"):
                    client.analyze(face)
    assert answered[0] == answered[1]
    assert set(answered[0]) == {1, 2}
    assert 20 <= answered[0].count(2) <= 60


class Stub:
    """A gRPC server that answers every call with these codes in turn, then OK."""

    def __init__(self, codes: list[grpc.StatusCode]) -> None:
        self.codes = list(codes)
        self.calls = 0

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls += 1
            if self.codes:
                context.abort(self.codes.pop(0), "as told")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def stub() -> Any:
    servers = []

    def start(*codes: grpc.StatusCode) -> tuple[Stub, str]:
        made = Stub(list(codes))
        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((made,))
        port = server.add_insecure_port("localhost:0")
        server.start()
        servers.append(server)
        return made, f"localhost:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


BUSY, GONE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
STOPPED = grpc.StatusCode.CANCELLED
"""What a server that stops says of the calls it has not begun."""


def test_busy_and_unavailable_and_stopping_are_retried(stub: Any) -> None:
    made, target = stub(BUSY, GONE, STOPPED)
    with SegHGANClient(target, retry=Retry(first=0.02)) as client:
        assert client.status() == {}
    assert made.calls == 4


def test_retries_end(stub: Any) -> None:
    made, target = stub(*[BUSY] * 10)
    with (
        SegHGANClient(target, retry=Retry(attempts=3, first=0.02)) as client,
        pytest.raises(ServerBusy, match="fewer"),
    ):
        client.status()
    assert made.calls == 3


def test_the_retry_budget_bounds_all_calls_together(stub: Any) -> None:
    made, target = stub(*[BUSY] * 100)
    with SegHGANClient(target, retry=Retry(attempts=4, first=0.02, budget=10, refill=1.0)) as client:
        for _ in range(10):
            with pytest.raises(ServerBusy):
                client.status()
        assert made.calls == 10 + 3  # more than half of the tokens must be left
        made.codes.clear()
        for _ in range(8):
            client.status()
        made.codes.extend([BUSY] * 10)
        before = made.calls
        with pytest.raises(ServerBusy):
            client.status()
    assert made.calls == before + 3


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c not in (BUSY, GONE, STOPPED, grpc.StatusCode.OK)])
def test_nothing_else_is_retried(stub: Any, code: grpc.StatusCode) -> None:
    made, target = stub(code)
    with SegHGANClient(target) as client, pytest.raises(ClientError) as caught:
        client.status()
    assert caught.value.code is code
    assert made.calls == 1


def test_asyncio_does_the_same(address: str, face: np.ndarray) -> None:
    async def everything() -> None:
        async with AsyncSegHGANClient(address) as client:
            edited, again = await asyncio.gather(client.edit(face, FULL), client.edit(Image.fromarray(face), FULL))
            np.testing.assert_array_equal(edited, np.clip(face + 63.75, 0, 255).round().astype(np.uint8))
            np.testing.assert_array_equal(again, edited)
            many = [one async for one in client.edit_many([np.full((32, 32, 3), i, np.uint8) for i in range(9)], FULL)]
            assert [one[0, 0, 0] for one in many] == [i + 64 for i in range(9)]
            assert (await client.segment(face))[0].shape == (32, 32)
            assert (await client.analyze(face)).shape == (3,)
            assert await client.labels() == ("AU06", "AU12", "AU25")
            assert 1 in await client.status()
            with pytest.raises(InvalidRequest, match="`image_bytes`"):
                await client.edit(png(np.zeros((16, 2001, 3), np.uint8)), FULL)

    asyncio.run(everything())


def test_asyncio_retries_and_hedges(stub: Any) -> None:
    retried, target = stub(BUSY, GONE)

    async def status() -> None:
        async with AsyncSegHGANClient(target, retry=Retry(first=0.02)) as client:
            assert await client.status() == {}

    asyncio.run(status())
    assert retried.calls == 3


class Relay:
    """A server that passes calls on to another and notes how long each may take; a clock goes on by 1000 s at each."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel, self.now, self.left = channel, 0.0, []

    def monotonic(self) -> float:
        return self.now

    def service(self, details: Any) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.left.append((details.method.rsplit("/", 1)[1], round(context.time_remaining(), -3)))
            self.now += 1000.0
            try:
                return self.channel.unary_unary(details.method)(request, timeout=60)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def relay(run_server: Any, export: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with run_server(model_dir=export) as (engine, target), grpc.insecure_channel(target) as channel:
        made, server = Relay(channel), grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((made,))
        port = server.add_insecure_port("localhost:0")
        server.start()
        monkeypatch.setattr(aio, "time", made)
        yield made, engine, f"localhost:{port}"
        server.stop(None).wait()


def test_a_timeout_bounds_all_that_a_method_asks_the_server(relay: Any, export: Path) -> None:
    made, engine, target = relay
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 190, (50, 70, 3), np.uint8))
    with SegHGANClient(target, timeout=50000.0) as client:
        client.segment(photo, timeout=10000.0)
        assert made.left == [("GetModelMetadata", 10000), ("Predict", 9000)]
        write_export(export, 2, size=48)
        engine.models.poll()
        made.left.clear()
        client.segment(photo, timeout=10000.0)  # of a size that is served no more: all is asked again
        assert made.left == [("Predict", 10000), ("GetModelMetadata", 9000), ("Predict", 8000)]
        made.left.clear()
        client.analyze(np.zeros((48, 48, 3), np.uint8), timeout=7000.0)
        client.labels(timeout=6000.0)
        client.status(timeout=5000.0)
        client.served(timeout=4000.0)
        assert made.left == [("Predict", 7000), ("Predict", 6000), ("GetModelStatus", 5000)]
        client.status()
        assert made.left[-1] == ("GetModelStatus", 50000)
    made.left.clear()
    with SegHGANClient(target, timeout=50000.0) as client, pytest.raises(DeadlineExceeded):
        client.edit(photo, FULL, timeout=1000.0)
    assert [call for call in made.left if call[1]] == [
        ("GetModelMetadata", 1000)
    ]  # gRPC may send what has no time left

    async def many() -> None:
        async with AsyncSegHGANClient(target, timeout=50000.0) as client:
            [_ async for _ in client.edit_many([np.zeros((48, 48, 3), np.uint8)], FULL, timeout=10000.0)]

    made.left.clear()
    asyncio.run(many())
    with SegHGANClient(target, timeout=50000.0) as client:
        list(client.edit_many([np.zeros((48, 48, 3), np.uint8)], FULL, timeout=10000.0))
    assert made.left == [("GetModelMetadata", 10000), ("Predict", 10000)] * 2


def test_a_client_is_shared_by_threads_from_its_first_call_on(run_server: Any, export_v1: Path) -> None:
    begin = threading.Barrier(32)
    with run_server(model_dir=export_v1.parent, max_waiting=32) as (_, target), SegHGANClient(target) as client:

        def ask(number: int) -> int:
            begin.wait(30)
            return int(client.edit(np.full((32, 32, 3), number, np.uint8), FULL)[0, 0, 0])

        with futures.ThreadPoolExecutor(32) as pool:
            assert list(pool.map(ask, range(32))) == [number + 64 for number in range(32)]


def test_a_swap_to_another_image_size_is_noticed(run_server: Any, export: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 190, (50, 70, 3), np.uint8)
    with run_server(model_dir=export) as (engine, target), SegHGANClient(target) as client:
        assert client.segment(Image.fromarray(photo))[0].shape == (32, 32)
        write_export(export, 2, size=48)
        engine.models.poll()
        assert client.segment(Image.fromarray(photo))[0].shape == (48, 48)
        assert client.served().image_size == 48


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(address: str) -> None:
    code = f"""
from serving.client import SegHGANClient
for host in ("localhost", "127.0.0.1", "dns:///localhost", "ipv4:127.0.0.1"):
    with SegHGANClient(host + ":{address.rpartition(":")[2]}", timeout=20) as client:
        print(client.served().version)
"""
    proxied = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "no_grpc_proxy": ""}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=proxied, timeout=120)
    assert ran.stdout.split() == ["1"] * 4, ran.stderr[-500:]


def test_a_slow_answer_is_hedged_and_the_first_one_taken(embedded: Any, face: np.ndarray) -> None:
    engine, address = embedded
    before = engine.runs

    async def edited() -> Any:
        async with AsyncSegHGANClient(address, hedge=1e-6) as client:
            return await client.edit(face, FULL)

    np.testing.assert_array_equal(asyncio.run(edited()), np.clip(face + 63.75, 0, 255).round().astype(np.uint8))
    assert engine.runs > before


def test_retries_beyond_grpcs_own_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="`first` must be at least"):
        Retry(first=0.001)
    with pytest.raises(ValueError, match="`attempts` must be 1 to 5"):
        Retry(attempts=6)
