"""Skips are counted, printed and bounded: in a run of pytest of its own, with a page of tests that skip."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.skips import BOUNDS, problems, summary

CHROMIUM = "needs Chromium: apt-get install chromium"


def run(folder, body):
    (folder / "tests").mkdir()
    for name in ("__init__.py", "conftest.py", "skips.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    (folder / "tests" / "test_page.py").write_text(f"import pytest\n\n{body}")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(
        words, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_skips_within_bounds_are_counted_and_printed(tmp_path):
    ran = run(
        tmp_path,
        f'@pytest.mark.skip(reason="{CHROMIUM}")\n@pytest.mark.parametrize("n", range(3))\ndef test(n): pass\n',
    )
    assert ran.returncode == 0, ran.stdout
    assert "3 tests were skipped" in ran.stdout
    assert f"3 x {CHROMIUM}" in ran.stdout


def test_a_skip_for_another_reason_fails_the_run(tmp_path):
    ran = run(tmp_path, 'def test_one(): pass\n\ndef test_two(): pytest.skip("I was lazy")\n')
    assert ran.returncode == 1
    assert "1 tests skip because of 'I was lazy'; at most 0 may" in ran.stdout


@pytest.mark.parametrize(("count", "wrong"), [(BOUNDS[CHROMIUM], 0), (BOUNDS[CHROMIUM] + 1, 1)])
def test_more_than_the_bound_is_a_problem(count, wrong):
    assert len(problems([CHROMIUM] * count)) == wrong


def test_the_summary_counts_by_reason():
    assert summary(["a", "b", "a"]) == ["3 tests were skipped:", "   2 x a", "   1 x b"]
    assert summary([]) == ["0 tests were skipped"]
