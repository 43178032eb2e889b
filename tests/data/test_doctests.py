"""The examples in the docstrings hold."""

import doctest

import pytest

from albertqa.data import alignment, problems
from albertqa.data.formats import hub_datasets


@pytest.mark.parametrize("module", [alignment, hub_datasets, problems], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.failed == 0
    assert results.attempted > 0
