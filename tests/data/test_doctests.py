"""The examples in the docstrings hold."""

import doctest

import pytest

from albertqa.data import gold, hub, problem


@pytest.mark.parametrize("module", [gold, hub, problem], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.failed == 0
    assert results.attempted > 0
