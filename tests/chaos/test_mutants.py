"""Mutants fit: each defence that can be taken out is where it is looked for, so that none is passed over in silence."""

from pathlib import Path

import pytest
from tests.chaos.mutants import MUTANTS

SOURCE = Path(__file__).parents[2] / "src" / "dfllm"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_fits_the_source(mutant):
    """Its line is in the file, and its test is there."""
    assert mutant.old in (SOURCE / mutant.file).read_text("utf-8")
    assert (SOURCE.parents[1] / mutant.test.partition("::")[0]).exists()
