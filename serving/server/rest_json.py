"""TensorFlow Serving's JSON: predict requests to arrays and arrays to answers, in the row and the column format.

    {"signature_name": "analyze", "instances": [{"image": [[[0.1, ...]]]}, ...]}   ->  {"predictions": [...]}
    {"signature_name": "analyze", "inputs": {"image": [[[[0.1, ...]]]]}}            ->  {"outputs": ...}

A signature with one input may leave its name out, an answer with one output has none. Bytes are `{"b64": "..."}`.
"""

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson

from serving.server.errors import ServingError, invalid
from serving.signature import Signature, Spec

MAX_DEPTH = 32
"""Deepest nesting of lists and objects in a request."""

_LIST, _OBJECT, _VALUE = 120, 260, 64
"""Bytes of a list or an object with its first value, and of each further value: its place and a number or a short string."""
_OPENING, _CLOSING = b"[{", b"]}"
_BLOCK = 1 << 20
_PIECE = 1 << 14
_MEMBERS = 1000


def gunzip(body: bytes, limit: int) -> bytes:
    """Return what a gzip body of one or several members holds; INVALID_ARGUMENT where it is broken or more than `limit` bytes."""
    plain, start, members = bytearray(), 0, 0
    inflate = zlib.decompressobj(wbits=31)
    while start < len(body):
        if inflate.eof:
            inflate, members = zlib.decompressobj(wbits=31), members + 1
        piece = body[start : start + _PIECE]
        try:
            plain += inflate.decompress(piece, limit + 1 - len(plain))
        except zlib.error as error:
            raise invalid("The body must be gzip, as its Content-Encoding says. Received: something else") from error
        if len(plain) > limit or members > _MEMBERS:
            raise invalid(f"The body may unpack to at most {limit} bytes, of {_MEMBERS} members. Received: more")
        start += len(piece) - len(inflate.unused_data)
    if not inflate.eof:
        raise invalid("The gzip body must be whole. Received: a part of it")
    return bytes(plain)


def _depth(body: bytes) -> int:
    """Return a bound on the nesting, which is exact where no string holds brackets."""
    depth = deepest = 0
    for start in range(0, len(body), _BLOCK):
        block = np.frombuffer(body, np.uint8, min(_BLOCK, len(body) - start), start)
        steps = np.zeros(len(block), np.int32)
        for mark in _OPENING:
            steps += block == mark
        for mark in _CLOSING:
            steps -= block == mark
        levels = depth + np.cumsum(steps)
        deepest, depth = max(deepest, int(levels.max())), int(levels[-1])
    return deepest


def weight(body: bytes, most: int) -> int:
    """Return the bytes that a body takes at most once it is parsed, 0 for less than 1 MiB, which counts for nothing.

    INVALID_ARGUMENT where it holds more than `most` values. Strings count for nothing: they are as large as in the body.
    """
    marks = np.zeros(256, np.int64)
    for start in range(0, len(body), _BLOCK):
        marks += np.bincount(np.frombuffer(body, np.uint8, min(_BLOCK, len(body) - start), start), minlength=256)
    lists, objects, values = (int(marks[ord(mark)]) for mark in "[{,")
    if (found := lists + objects + values) > most:
        raise invalid(f"A request may hold at most {most} values; send fewer images. Received: {found}")
    count = _LIST * lists + _OBJECT * objects + _VALUE * values
    return count if count >= 1 << 20 else 0


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; INVALID_ARGUMENT where it is none or nested deeper than `MAX_DEPTH`."""
    if _depth(body) > MAX_DEPTH:
        raise invalid(f"JSON Parse error: values may be nested {MAX_DEPTH} deep. Received: deeper nesting")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset {error.pos}") from error
    if not isinstance(document, dict):
        raise invalid("The request must be a JSON object with `instances` or `inputs`. Received: another value")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the signature a request asks for, `serving_default` where it does not say."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("`signature_name` must be a string. Received: another value")
    return name or "serving_default"


def inputs(document: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """Return the inputs of a request by name."""
    rows = "instances" in document
    if rows == ("inputs" in document):
        raise invalid(f"A request must have `instances` or `inputs`. Received: {'both' if rows else 'neither'}")
    given = _columns(document["instances"], signature) if rows else document["inputs"]
    wanted = signature.inputs
    if not isinstance(given, dict) or _is_base64(given):
        if len(wanted) > 1:
            raise invalid(f"`inputs` must be an object with the keys {sorted(wanted)}. Received: a plain value")
        given = {next(iter(wanted)): given}
    if set(given) != set(wanted):
        extra, missing = _short(set(given) - set(wanted)), _short(set(wanted) - set(given))
        raise invalid(f"The inputs must be {sorted(wanted)}. Received: missing {missing}, not known {extra}")
    return {name: array(name, given[name], spec) for name, spec in wanted.items()}


def _short(names: set[str]) -> list[str]:
    return [name[:60] for name in sorted(names)[:5]]


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _columns(instances: Any, signature: Signature) -> dict[str, list[Any]]:
    wanted = set(signature.inputs)
    if not isinstance(instances, list) or not instances:
        raise invalid("`instances` must be a list of at least one example. Received: another value")
    if all(isinstance(one, dict) and not _is_base64(one) for one in instances):
        for number, one in enumerate(instances):
            if set(one) != wanted:
                raise invalid(
                    f"Each of `instances` must have the keys {sorted(wanted)}. Received: {_short(set(one))} at item {number}"
                )
        return {name: [one[name] for one in instances] for name in wanted}
    if len(wanted) > 1:
        raise invalid(f"`instances` must be objects with the keys {sorted(wanted)}. Received: plain values among them")
    return {next(iter(wanted)): instances}


def array(name: str, value: Any, spec: Spec) -> np.ndarray:
    """Return nested lists as an array of a spec's dtype and rank; INVALID_ARGUMENT where they are ragged or of other types.

    >>> array("regions", [[1, 0.5]], Spec("float32", (None, 2)))
    array([[1. , 0.5]], dtype=float32)
    """
    shape: list[int] = []
    level: list[Any] = [value]
    for _ in spec.shape:
        if set(map(type, level)) - {list}:
            raise invalid(
                f"`{name}` must be lists nested {len(spec.shape)} deep. Received: a value at depth {len(shape)}"
            )
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise invalid(f"`{name}` must be rectangular. Received: lists of {sorted(sizes)[:5]} at depth {len(shape)}")
        shape.append(sizes.pop() if sizes else 0)
        level = list(chain.from_iterable(level))
    if spec.dtype == "bytes":
        flat = np.empty(len(level), object)
        flat[:] = [_bytes(name, item) for item in level]
        return flat.reshape(shape)
    return _numbers(name, level, spec.dtype).reshape(shape)


def _numbers(name: str, values: list[Any], dtype: str) -> np.ndarray:
    kinds: dict[str, set[type]] = {"float": {int, float}, "int": {int}, "uint": {int}, "bool": {bool}}
    if wrong := set(map(type, values)) - kinds[dtype.rstrip("0123456789")]:
        found = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise invalid(f"`{name}` must be numbers that fit {dtype}. Received: {found}")
    try:
        with np.errstate(over="raise"):
            return np.array(values, dtype)
    except (OverflowError, FloatingPointError) as error:
        raise invalid(f"`{name}` must be numbers that fit {dtype}. Received: one that does not") from error


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_base64(value) or not isinstance(value["b64"], str):
        raise invalid(f'`{name}` must be {{"b64": "..."}} objects or strings. Received: {type(value).__name__}')
    try:
        text = value["b64"].encode("ascii")
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise invalid(f"`{name}` must hold base64. Received: {error}") from error


def answer(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """Return the JSON of an answer: `predictions`, a row an example, or `outputs`, each whole."""
    sound: dict[str, Callable[[Any], Any]] = {name: _writer(name, value) for name, value in outputs.items()}
    (only, *others) = outputs
    if rows:
        count = len(outputs[only])
        examples = ({name: write(outputs[name][i]) for name, write in sound.items()} for i in range(count))
        document: dict[str, Any] = {"predictions": [one if others else one[only] for one in examples]}
    else:
        columns = {name: write(outputs[name]) for name, write in sound.items()}
        document = {"outputs": columns if others else columns[only]}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=_text)


def _writer(name: str, value: np.ndarray) -> Callable[[Any], Any]:
    if value.dtype != object:
        return np.ascontiguousarray if value.ndim > 1 else lambda part: part
    encoded = name.endswith("_bytes")

    def write(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            return [write(one) for one in part]
        return {"b64": base64.b64encode(part).decode()} if encoded else part

    return write


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise TypeError("bytes that are no text need an output whose name ends in _bytes") from error


def error_body(error: ServingError) -> bytes:
    """Return the JSON of an error.

    >>> error_body(invalid("no"))
    b'{"error":"no"}'
    """
    return orjson.dumps({"error": error.message})
