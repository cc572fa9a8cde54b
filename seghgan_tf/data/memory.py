"""How much memory this process may use: the machine's, or less where its container is limited."""

from pathlib import Path

_CGROUP = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of the container, in the files of cgroup 2 and 1."""


def available(root: Path = Path("/")) -> int | None:
    """Return the bytes that may still be used; None where the system does not say (`root` holds its proc and sys)."""
    free = []
    meminfo = root / "proc/meminfo"
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = [int(lines[key].split()[0]) * 1024 for key in ("MemAvailable",) if key in lines]
    for limit, used in _CGROUP:
        if (root / limit).is_file() and (text := (root / limit).read_text().strip()).isdigit():
            free.append(max(0, int(text) - int((root / used).read_text())))
    return min(free, default=None)


def cache_bytes(examples: int, image_size: int, images: int, masks: int) -> int:
    """Return what a cache of decoded examples takes: `images` RGB pictures and `masks` masks of uint8 in each.

    >>> cache_bytes(300_000, 128, 1, 0) // 2**20
    14062
    """
    return examples * image_size**2 * (3 * images + masks)


def worth_caching(size: int, free: int | None) -> bool:
    """Return whether a cache of `size` bytes takes at most a third of the memory that is free.

    >>> worth_caching(2**30, 4 * 2**30), worth_caching(2**31, 4 * 2**30), worth_caching(2**30, None)
    (True, False, False)
    """
    return free is not None and size <= free / 3
