"""Break the method on purpose, one way after another, and see that the tests named for it fail: `make mutants`."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("seghgan_tf", "serving", "tfrecords_tools", "k8s", "tests", "pyproject.toml")
MODEL = "tests/test_model.py::"


class Mutant(NamedTuple):
    """What is broken, by which edit of which file, and the tests that must fail for it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "local generators ignore their input",
        "seghgan_tf/model/hierarchy.py",
        "tf.concat([window, planes(expression, window)], -1)",
        "tf.zeros_like(tf.concat([window, planes(expression, window)], -1))",
        (MODEL + "test_local_generators_see_photo_expression_and_masks",),
    ),
    Mutant(
        "masks are constant",
        "seghgan_tf/model/hierarchy.py",
        "tf.split(grown, len(REGIONS), -1)",
        "tf.split(tf.ones_like(grown) / 2, len(REGIONS), -1)",
        (
            MODEL + "test_masks_lie_where_the_segmenter_sees_their_classes",
            MODEL + "test_in_joint_the_gan_alone_teaches_the_segmenter",
        ),
    ),
    Mutant(
        "the segmenter gets no gradient",
        "seghgan_tf/model/hierarchy.py",
        'if variant != "joint":',
        "if variant:",
        (MODEL + "test_in_joint_the_gan_alone_teaches_the_segmenter",),
    ),
    Mutant(
        "critics see nothing",
        "seghgan_tf/model/critic.py",
        "x, depth = image, 0",
        "x, depth = 0.0 * image, 0",
        (MODEL + "test_every_critic_sees_its_view",),
    ),
)


def failing(folder: Path, tests: tuple[str, ...]) -> set[str]:
    """Return which of the tests fail in a copy of the project. Raises RuntimeError where one does not run at all."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=no", "-q", "-rfEp", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    told = dict(re.findall(r"^(?:(?:FAILED|PASSED) (\S+?))(?:\[\S+\])?(?: - (.*))?$", done.stdout, re.MULTILINE))
    if set(tests) - set(told):
        raise RuntimeError(f"did not run: {', '.join(sorted(set(tests) - set(told)))}\n{done.stdout[-2000:]}")
    return set(re.findall(r"^FAILED (\S+?)(?:\[\S+\])?(?: - .*)?$", done.stdout, re.MULTILINE))


def main() -> int:
    """Run the named tests on the project as it is and on each mutant; status 1 where a mutant survives a test."""
    survived = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in PACKAGES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, folder / name)
        everything = tuple(dict.fromkeys(test for mutant in MUTANTS for test in mutant.tests))
        if broken := failing(folder, everything):
            print(f"fail without a mutant: {', '.join(sorted(broken))}")  # noqa: T201
            return 1
        for mutant in MUTANTS:
            path = folder / mutant.file
            text = path.read_text()
            path.write_text(text.replace(mutant.old, mutant.new))
            caught = failing(folder, mutant.tests)
            path.write_text(text)
            for test in mutant.tests:
                survived += test not in caught
                print(f"{'caught' if test in caught else 'SURVIVED'}: {mutant.name}: {test}", flush=True)  # noqa: T201
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
