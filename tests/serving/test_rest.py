"""TensorFlow Serving's REST on the embedded server: paths, both formats, codes, limits, the page and its manifest."""

import base64
import gzip
import http.client
import io
import json
import socket
import time

import numpy as np
import pytest
from PIL import Image

from serving.server import rest_server

SIZE = 32


class Rest:
    """Calls one server."""

    def __init__(self, port):
        self.port = port

    def raw(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def get(self, path):
        status, _, body = self.raw("GET", path)
        return status, json.loads(body)

    def predict(self, document, path="/v1/models/seghgan:predict", **headers):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, _, body = self.raw("POST", path, body, headers)
        return status, json.loads(body)


@pytest.fixture(scope="module")
def rest(embedded, rest_ports):
    return Rest(rest_ports[embedded[1]])


@pytest.fixture
def pixels(face):
    return (face / 127.5 - 1).round(4).tolist()


def edit(image):
    return {"image": image, "expression": [1, 0.5, 0], "regions": [1, 0, 0, 0]}


def photo():
    file = io.BytesIO()
    Image.new("RGB", (48, 40), (90, 120, 150)).save(file, "PNG")
    return file.getvalue()


def test_status_and_metadata_have_tensorflow_servings_form(rest):
    one = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert rest.get("/v1/models/seghgan") == (200, {"model_version_status": [one]})
    assert rest.get("/v1/models/seghgan/versions/1")[0] == 200
    status, metadata = rest.get("/v1/models/seghgan/metadata")
    assert status == 200
    assert metadata["model_spec"] == {"name": "seghgan", "signature_name": "", "version": "1"}
    image = metadata["metadata"]["signature_def"]["signature_def"]["analyze"]["inputs"]["image"]
    assert image["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in image["tensor_shape"]["dim"]] == ["-1", "32", "32", "3"]


def test_rows_and_columns_answer_alike(rest, pixels):
    status, rows = rest.predict({"instances": [edit(pixels)] * 2})
    assert status == 200
    assert [sorted(row) for row in rows["predictions"]] == [["attention", "edited"]] * 2
    columns = {name: [value] * 2 for name, value in edit(pixels).items()}
    status, outputs = rest.predict({"inputs": columns, "signature_name": "serving_default"})
    assert status == 200
    np.testing.assert_array_equal(outputs["outputs"]["edited"], [row["edited"] for row in rows["predictions"]])
    expected = np.clip(np.float32(pixels) + 0.25, -1, 1)
    np.testing.assert_allclose(rows["predictions"][0]["edited"], expected, atol=1e-6)


def test_one_input_and_one_output_need_no_names(rest, pixels):
    named = rest.predict({"signature_name": "analyze", "instances": [{"image": pixels}]})
    assert named[0] == 200
    assert np.shape(named[1]["predictions"]) == (1, 3)
    assert rest.predict({"signature_name": "analyze", "instances": [pixels]}) == named
    column = rest.predict({"signature_name": "analyze", "inputs": [pixels]})
    assert column == (200, {"outputs": named[1]["predictions"]})


def test_photos_travel_as_base64(rest):
    asked = {
        "image_bytes": {"b64": base64.b64encode(photo()).decode()},
        "expression": [0, 0, 0],
        "regions": [1, 0, 0, 0],
        "frames": [[0, 0, 0], [0, 0, 0]],
    }
    body = {"signature_name": "edit_bytes", "instances": [asked | {"jpeg_quality": 0}, asked | {"jpeg_quality": 90}]}
    status, answer = rest.predict(body)
    assert status == 200
    png, jpeg = (Image.open(io.BytesIO(base64.b64decode(one["b64"]))) for one in answer["predictions"])
    assert (png.format, jpeg.format) == ("PNG", "JPEG")
    assert png.size == (48, 40)
    assert png.getpixel((3, 3)) == (90, 120, 150)


def test_gzip_bodies_are_unpacked(rest, pixels):
    body = {"signature_name": "analyze", "instances": [pixels]}
    packed = gzip.compress(json.dumps(body).encode())
    assert rest.predict(packed, **{"Content-Encoding": "gzip"}) == rest.predict(body)
    text = json.dumps(body).encode()
    members = gzip.compress(text[:100]) + gzip.compress(text[100:])
    assert rest.predict(members, **{"Content-Encoding": "gzip"}) == rest.predict(body)


def test_a_method_that_is_none_of_rests_is_refused_in_json(rest):
    status, _, body = rest.raw("PUT", "/v1/models/seghgan:predict")
    assert (status, json.loads(body)["error"]) == (400, "Malformed request: PUT v1/models/seghgan:predict")


def test_answers_say_who_gave_them_and_keep_the_request_id(rest, pixels):
    body = json.dumps({"signature_name": "analyze", "instances": [pixels]})
    _, headers, _ = rest.raw("POST", "/v1/models/seghgan:predict", body, {"x-request-id": "mine"})
    assert headers["x-served-by"] == "embedded"
    assert headers["x-request-id"] == "mine"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_the_manifest_tells_the_page_about_the_model(rest):
    status, manifest = rest.get("/manifest.json")
    assert status == 200
    assert manifest["served"] == {"model": "seghgan", "version": 1, "server": "embedded"}
    assert manifest["model"]["expression"]["labels"] == ["AU06", "AU12", "AU25"]
    assert manifest["model"]["image_size"] == SIZE
    assert manifest["model"]["units"]["AU12"]["word"] == "smile", "also where the export is of before"
    assert manifest["model"]["emotions"]["happy"] == {"AU06": 3.0, "AU12": 4.0, "AU25": 2.0}
    assert rest.get("/manifest.json?model=nobody")[0] == 404


def test_metrics_count_rest_requests(rest, pixels):
    rest.predict({"signature_name": "analyze", "instances": [pixels]})
    status, headers, text = rest.raw("GET", "/monitoring/prometheus/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'code="OK",model="seghgan",protocol="rest",signature="analyze",version="1"' in text


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v1/models/nobody", 404, "Could not find"),
        ("/v1/models/nobody/metadata", 404, "nobody"),
        ("/v1/models/seghgan/versions/9", 404, "9"),
        ("/v1/models/seghgan/versions/9/metadata", 404, "Specific(seghgan, 9)"),
        ("/v1/models/seghgan/labels/none/metadata", 400, "Unrecognized servable version label: none"),
        ("/v1/models", 400, "Missing model name"),
        ("/v1/models/seghgan:predict", 400, "Malformed request: GET v1/models/seghgan:predict"),
        ("/v1/anything", 400, "Malformed request: GET v1/anything"),
        ("/V1/Models/nobody", 404, "Could not find"),
    ],
)
def test_wrong_paths_are_refused_in_words(rest, path, status, text):
    got, answer = rest.get(path)
    assert got == status
    assert text in answer["error"]


def test_a_client_that_sends_its_header_slowly_is_cut_off(rest, monkeypatch):
    monkeypatch.setattr(rest_server, "HEADER_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", rest.port), timeout=5) as slow:
        start = time.monotonic()
        slow.sendall(b"GET /v1/models/seghgan HTTP/1.1\r\n")
        ended = b"x"
        while ended and time.monotonic() - start < 5:
            time.sleep(0.05)
            try:
                slow.sendall(b"x")
                slow.settimeout(0.01)
                ended = slow.recv(100)
            except TimeoutError:
                continue
            except OSError:
                ended = b""
        assert ended == b""


def test_answers_wait_for_no_acknowledgement():
    with rest_server.listen("127.0.0.1", 0) as listening:
        with socket.create_connection(listening.getsockname(), timeout=5):
            accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_taken_port_is_named(embedded, rest):
    with pytest.raises(OSError, match="`rest_port` free"):
        rest_server.listen("127.0.0.1", rest.port)
