"""Filters of the templates: values are formatted, and texts of the data cannot break out of a Markdown table."""

import doctest

from hypothesis import given
from hypothesis import strategies as st

from albertqa.report import templates


def test_doctests() -> None:
    assert doctest.testmod(templates).failed == 0


@given(st.text(st.characters() | st.sampled_from("<>&|`\n\\"), max_size=40))
def test_texts_stay_inside_their_cell(text: str) -> None:
    plain, code = templates._plain(text), templates._code(text)
    assert not set("<|`\n") & set(plain)
    assert "\n" not in code
    assert code.replace("\\|", "").count("|") == 0
    assert code == "" or (code.count("`"), code[0], code[-1]) == (2, "`", "`")
