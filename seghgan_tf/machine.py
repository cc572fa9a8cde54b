"""What this process may use of its machine, cores by affinity and quota, memory by the control group's limit, and how it keeps memory."""

import contextlib
import ctypes
import math
import os
from pathlib import Path

_MEMORY = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of the container, in the files of cgroup 2 and 1; `root` below is the folder that holds `sys` and `proc`."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`, by <malloc.h>."""


def cores(root: Path = Path("/")) -> int:
    """Return how many cores the process may keep busy, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or `max`
        return allowed


def memory(root: Path = Path("/")) -> int:
    """Return how many bytes of memory the process may have."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(limit for limit, _ in _limits(root))])


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that may still be used, those that hold files for no need included; None where the system does not say."""
    free = [max(0, limit - int(used.read_text()) + _reclaimable(used)) for limit, used in _limits(root)]
    meminfo = root / "proc/meminfo"
    if meminfo.is_file():
        lines = meminfo.read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min(free, default=None)


def keep_freed_memory() -> None:
    """Let the C library keep up to a GiB that is freed for what is allocated next, where it is glibc; elsewhere nothing changes.

    By itself it gives batches of pictures back to the system and gets them anew, page by page, which takes as long as to copy them twice.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(option, 1 << 30)


def _reclaimable(used: Path) -> int:
    """Return the bytes of a control group's use that are file pages nobody has touched for long, which the system takes back at need."""
    stat = used.with_name("memory.stat")
    counts = dict(line.split() for line in stat.read_text().splitlines()) if stat.is_file() else {}
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))


def _limits(root: Path) -> list[tuple[int, Path]]:
    """Return the limits in bytes that the container has, each with the file that tells its use."""
    files = [(root / limit, root / used) for limit, used in _MEMORY if (root / limit).is_file()]
    return [(int(text), used) for limit, used in files if (text := limit.read_text().strip()).isdigit()]
