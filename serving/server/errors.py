"""The one error a server raises: a gRPC status code and a message that is fit for the caller."""

import re

import grpc

MAX_MESSAGE = 1024
"""Longest message that is sent, in characters; TensorFlow Serving cuts at the same length."""

_LEAKS = (
    (re.compile(r"(?:Graph execution error:\s*)?Detected at node .*?<stack traces unavailable>\s*", re.DOTALL), ""),
    (re.compile(r"\{\{(?:function_)?node [^}]*\}\}\s*"), ""),
    (re.compile(r"\s*\[\[[^\]]*\]\]"), ""),
    (re.compile(r"\s*\[Op:\w+\](?: name: \S*)?"), ""),
    (re.compile(r"(?<![\w.:])(?:/[\w.@+-]+){2,}/?"), "<path>"),
)
_MARKS = frozenset("/[{<")
"""What none of the patterns matches without."""
_ASSERTION = re.compile(r"assertion failed: ((?:\[[^\]]*\] ?)+)")


def scrubbed(text: str) -> str:
    """Remove node names, file paths and an assertion's brackets from an error's text; cut it to `MAX_MESSAGE` characters.

    >>> scrubbed("{{function_node __wrapped__a}} bad input [[{{node b}}]] [Op:Add] name: ")
    'bad input'
    >>> scrubbed("assertion failed: [`image` must be large. Received:] [8 8] [[{{node Assert}}]]")
    '`image` must be large. Received: 8 8'
    """
    if not _MARKS.isdisjoint(text):
        for pattern, put in _LEAKS:
            text = pattern.sub(put, text)
        text = _ASSERTION.sub(lambda found: found[1].strip()[1:-1].replace("] [", " "), text)
    text = text.strip()
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "... (truncated)"


class ServingError(Exception):
    """A request cannot be answered; `code` is a `grpc.StatusCode`, `message` says why and what to do.

    `retry_after` is the number of seconds after which an overloaded server expects to have room, or None.
    """

    def __init__(self, code: grpc.StatusCode, message: str, retry_after: float | None = None) -> None:
        self.code = code
        self.message = scrubbed(message)
        self.retry_after = retry_after
        super().__init__(self.message)


def invalid(message: str) -> ServingError:
    """Return an INVALID_ARGUMENT error."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
