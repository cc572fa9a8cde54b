"""The mutants of `make mutants` are edits of code that is there, and the tests named for them exist."""

import pytest

from tests.conftest import ROOT
from tests.mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_edits_one_place_and_names_tests_that_exist(mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    for test in mutant.tests:
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / file).read_text()
