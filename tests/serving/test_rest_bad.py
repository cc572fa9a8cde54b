"""Bad input over REST: every case is refused in words, and nothing brings the server down."""

import base64
import gzip
import http.client
import json
import socket
import zlib

import numpy as np
import pytest

PATH = "/v1/models/seghgan:predict"
PICTURE = np.zeros((32, 32, 3), int).tolist()


@pytest.fixture(scope="module")
def port(embedded, rest_ports):
    return rest_ports[embedded[1]]


def send(port, body, headers=None, method="POST", path=PATH):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except BrokenPipeError:  # refused before the body was read
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def edit(**changes):
    one = {"image": PICTURE, "expression": [0, 0, 0], "regions": [1, 0, 0, 0]} | changes
    return {"instances": [{key: value for key, value in one.items() if value is not None}]}


def photo(encoded, quality=0):
    one = {"image_bytes": encoded, "expression": [0, 0, 0], "regions": [1, 0, 0, 0], "jpeg_quality": quality}
    one["frames"] = [[0, 0, 0], [0, 0, 0]]
    return {"signature_name": "edit_bytes", "instances": [one]}


def b64(raw):
    return {"b64": base64.b64encode(raw).decode()}


def _documents():
    cases = {"a list": [], "a number": 3, "nothing asked": {}, "null": None}
    cases["both formats"] = edit() | {"inputs": {}}
    for value in (None, 1, "x", {}, [], {"image": PICTURE}):
        cases[f"instances is {str(value)[:12]}"] = {"instances": value}
    for value in (None, 1, "x", {}, [], {"image": [PICTURE]}, {"b64": "AA=="}):
        cases[f"inputs is {str(value)[:12]}"] = {"inputs": value}
    for value in (1, [], {}, True, None):
        cases[f"signature_name is {value}"] = edit() | {"signature_name": value}
    cases["unknown signature"] = edit() | {"signature_name": "paint"}
    cases["rows of two kinds"] = {"instances": [edit()["instances"][0], PICTURE]}
    cases["rows of other keys"] = {"instances": [edit()["instances"][0], {"image": PICTURE}]}
    for name, fill in (("image", PICTURE), ("expression", [0, 0, 0]), ("regions", [0, 0, 0, 0])):
        cases[f"no {name}"] = edit(**{name: None})
        for value in ("x", 1, True, {}, [], [[]], {"b64": "AAAA"}):
            cases[f"{name} is {value}"] = edit(**{name: value})
        text = json.dumps(fill)
        for value in ("null", '"0"', "true", "{}", "[0]", "1e300", "-7.0", "99", "9" * 400):
            cases[f"{name} with {value[:9]}"] = edit(**{name: json.loads(text.replace("0", value, 1))})
    cases["ragged image"] = edit(image=[*PICTURE[:-1], PICTURE[0][:-1]])
    cases["deeper image"] = edit(image=[PICTURE])
    cases["an input too many"] = edit(zzz=1)
    cases["columns of two lengths"] = {
        "inputs": {"image": [PICTURE], "expression": [[0, 0, 0]] * 2, "regions": [[1, 0, 0, 0]]}
    }
    photos = {
        "bad base64": {"b64": "!!!!"},
        "base64 of another alphabet": {"b64": "ÄÖÜ"},
        "base64 is a number": {"b64": 1},
        "base64 and more": {"b64": "AAAA", "x": 1},
        "photo is a number": 1,
        "photo is null": None,
        "text photo": "hello" * 20,
        "empty photo": b64(b""),
        "cut PNG": b64(b"\x89PNG\r\n\x1a\n" + b"\0" * 40),
        "huge PNG header": b64(
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0" + b"\0" * 40
        ),
        "cut JPEG": b64(b"\xff\xd8\xff\xe0" + b"\0" * 40),
        "GIF": b64(b"GIF89a" + b"\0" * 60),
    }
    cases |= {name: photo(value) for name, value in photos.items()}
    for quality in (-1, 101, 1.5, "90", 1 << 40, True):
        cases[f"quality {quality}"] = photo(b64(b"x"), quality)
    return cases


def _bodies():
    cases = {name: json.dumps(document).encode() for name, document in _documents().items()}
    cases |= {
        "nothing": b"",
        "no JSON": b"hello",
        "half a document": json.dumps(edit()).encode()[:-9],
        "two documents": b"{}{}",
        "not UTF-8": b'{"instances": "\xff\xfe"}',
        "NaN": b'{"instances": [NaN]}',
        "Infinity": b'{"instances": [-Infinity]}',
        "250000 lists": b"[" * 250_000,
        "250000 objects": b'{"a":' * 250_000,
        "250000 closed lists": b'{"instances": ' + b"[" * 250_000 + b"]" * 250_000 + b"}",
        "a bracket string before deep lists": b'{"x": "' + b"]" * 5000 + b'", "instances": ' + b"[" * 5000 + b"}",
        "binary": bytes(range(256)) * 40,
    }
    return cases


BAD = _bodies()


def test_there_are_more_than_sixty_bad_bodies():
    assert len(BAD) > 60


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused_in_words(port, name):
    status, body = send(port, BAD[name])
    assert status == 400
    text = json.loads(body)["error"]
    assert 0 < len(text) < 1100
    assert "/work" not in text
    assert "node" not in text


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"not gzip", "gzip"),
        (b"", "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip"),
        (zlib.compress(b"{}"), "gzip"),
        (gzip.compress(b"{", mtime=0) + b"x", "gzip"),
        (gzip.compress(b"", mtime=0) * 2000, "gzip"),
        (b"{}", "br"),
        (b"{}", "gzip, gzip"),
    ],
)
def test_a_bad_encoding_is_refused(port, body, coding):
    status, answer = send(port, body, {"Content-Encoding": coding})
    assert status == 400
    assert json.loads(answer)["error"]


def test_a_gzip_bomb_is_unpacked_no_further_than_the_limit(port):
    bomb = gzip.compress(b" " * 200_000_000)
    assert len(bomb) < 200_001
    status, answer = send(port, bomb, {"Content-Encoding": "gzip"})
    assert status == 400
    assert "may unpack to at most" in json.loads(answer)["error"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused_before_it_is_held(port, chunked):
    size = 60 << 20
    body = (b" " * (1 << 20) for _ in range(60)) if chunked else b" " * size
    try:
        status, answer = send(port, body)
    except ConnectionError:
        return  # the server closed while we still sent, which is the other way to say no
    assert status == 400
    assert "may have at most" in json.loads(answer)["error"]


def test_broken_http_is_answered_or_cut_off(port):
    random = np.random.default_rng(2112)
    good = b"POST /v1/models/seghgan:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    for _ in range(200):
        raw = bytearray(good)
        for _ in range(random.integers(1, 6)):
            place = int(random.integers(len(raw)))
            raw[place : place + int(random.integers(0, 4))] = random.bytes(int(random.integers(0, 4)))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            peer.sendall(bytes(raw))
            peer.shutdown(socket.SHUT_WR)
            answer = peer.recv(4096)
        assert not answer or answer.split(b" ", 2)[1][:1] in b"2345", answer
        assert b" 500 " not in answer.split(b"\r\n")[0]
    assert send(port, None, method="GET", path="/v1/models/seghgan")[0] == 200


def test_random_changes_of_good_bodies_never_break_the_server(port):
    random = np.random.default_rng(2112)
    seeds = [
        json.dumps({"signature_name": "analyze", "instances": [PICTURE]}, separators=(",", ":")),
        json.dumps({"inputs": {"image": [PICTURE], "expression": [[0, 0, 0]], "regions": [[1, 0, 0, 0]]}}),
        json.dumps(photo(b64(b"\x89PNG\r\n\x1a\n" + b"\0" * 40))),
    ]
    for _ in range(400):
        raw = bytearray(seeds[random.integers(len(seeds))].encode())
        for _ in range(random.integers(1, 8)):
            place = int(random.integers(min(len(raw), 200)))
            raw[place : place + int(random.integers(0, 3))] = random.bytes(int(random.integers(0, 3)))
        status, body = send(port, bytes(raw))
        assert status in (200, 400, 404, 429), (bytes(raw[:200]), body)
    assert send(port, seeds[0])[0] == 200
