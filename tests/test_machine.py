"""A container bounds what a process takes, cores by its quota, memory by its limit; what is freed can be kept."""

import os
import platform
import subprocess
import sys

import pytest

from seghgan_tf import machine


def test_cores_follow_the_quota_and_memory_the_limit(tmp_path):
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    assert machine.cores(tmp_path) == len(os.sched_getaffinity(0))
    (group / "cpu.max").write_text("50000 100000\n")
    (group / "memory.max").write_text("1048576\n")
    assert machine.cores(tmp_path) == 1
    assert machine.memory(tmp_path) == 1 << 20
    (group / "memory.max").write_text("max\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert machine.memory(tmp_path) > 1 << 20
    assert machine.cores(tmp_path) == len(os.sched_getaffinity(0))


def test_a_containers_limit_bounds_the_memory(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4096 kB\n")
    assert machine.free_memory(tmp_path) == 4 * 2**20
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("1048576\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert machine.free_memory(tmp_path) == 4 * 2**20
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("3145728\n")
    assert machine.free_memory(tmp_path) == 2 * 2**20
    (tmp_path / "sys/fs/cgroup/memory.stat").write_text("anon 262144\ninactive_file 524288\nactive_file 262144\n")
    assert machine.free_memory(tmp_path) == 2.5 * 2**20, "pages of files read once are given back"
    assert machine.free_memory(tmp_path / "nowhere") is None


def test_an_older_containers_file_pages_are_counted_with_those_of_its_children(tmp_path):
    group = tmp_path / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("3145728\n")
    (group / "memory.usage_in_bytes").write_text("2097152\n")
    (group / "memory.stat").write_text("inactive_file 0\ntotal_inactive_file 1048576\n")
    assert machine.free_memory(tmp_path) == 2 * 2**20


FAULTS = """
import resource, sys
from seghgan_tf.machine import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (1 << 26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep freed memory; run on a system with it"
)
def test_freed_memory_is_kept_for_what_is_allocated_next():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("keep", "give back")
    }
    assert faults["keep"] < 100 < faults["give back"]
