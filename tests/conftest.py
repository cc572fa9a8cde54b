"""What many tests share: a tiny model, batches, and the folder of real faces where it exists."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `quiet.start_tensorflow` sets it

import pytest
import tensorflow as tf

from tests import skips

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as training does without a GPU

ROOT = Path(__file__).parents[1]

TINY = {
    "image_size": 32,
    "segmenter": "unet",
    "segmenter_width": 4,
    "generator_width": 4,
    "generator_blocks": 1,
    "local_width": 4,
    "local_blocks": 1,
    "critic_width": 4,
    "critic_steps": 1,
}


@pytest.fixture(scope="session")
def faces_folder() -> Path:
    """Return the folder of real photos, or skip."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "london").is_dir():
        pytest.skip("needs the real faces in ../shared/data beside the project")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files with slow tests first, so that two processes end together: short ones fill what is left."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _skipped(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [skips.reason(report) for report in reporter.stats.get("skipped", [])] if reporter else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests were skipped and why, and which of them must not be."""
    for line in [*skips.summary(_skipped(config)), *skips.problems(_skipped(config))]:
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skips more than it may."""
    if skips.problems(_skipped(session.config)) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
