"""What this process may use of its machine: cores by affinity and quota, memory by the control group's limit."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores the process may keep busy, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or `max`
        return allowed


def memory(cgroup: Path = CGROUP) -> int:
    """Return how many bytes of memory the process may have."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):
        return whole
