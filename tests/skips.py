"""What may be skipped, why, and at most how often: a run that skips more, or for another reason, fails."""

import re
from collections import Counter
from collections.abc import Iterable

BOUNDS = {
    r"needs Chromium: apt-get install chromium": 60,
    r"needs root and iproute2 \(apt-get install iproute2\)": 6,
    r"needs the real faces in \.\./shared/data": 12,
    r"needs Apache Beam: make beam": 8,
    r"needs min-tfs-client: make clients": 1,
    r"needs Node and its gRPC client: apt-get install nodejs npm, then make clients": 2,
    r"unset SEGHGAN_TFS_ADDRESS": 30,
}
"""Reasons (regular expressions) and the most tests that may be skipped for each."""


def reason(report: object) -> str:
    """Return why a report of pytest's was skipped."""
    found = getattr(report, "longrepr", None)
    return str(found[2] if isinstance(found, tuple) else found).removeprefix("Skipped: ")


def summary(reasons: Iterable[str]) -> list[str]:
    """Return a line with the count of skips, then one for each reason, commonest first."""
    counts = Counter(reasons)
    lines = [f"{count:4} x {text}" for text, count in counts.most_common()]
    return [f"{counts.total()} tests were skipped" + (":" if lines else ""), *lines]


def problems(reasons: Iterable[str]) -> list[str]:
    """Return what was skipped too often or for no reason that is known, nothing where all is within bounds."""
    counts: Counter[str] = Counter()
    for text in reasons:
        counts[next((known for known in BOUNDS if re.search(known, text)), text)] += 1
    return [
        f"{count} tests skip because of {text!r}; at most {BOUNDS.get(text, 0)} may (tests/skips.py)"
        for text, count in counts.items()
        if count > BOUNDS.get(text, 0)
    ]
