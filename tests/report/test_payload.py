"""The page's data: nothing in it closes a script element, and its positions are those of browsers."""

import base64
import json
import zlib

from hypothesis import given
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.report.outcome import Outcome
from albertqa.report.payload import answers_json, packed_json, questions_json, script_json

TEXT = st.text(alphabet=st.characters() | st.sampled_from("<>&😀\u2028\u202e\ud83d\udc00"), max_size=60)


@given(st.dictionaries(TEXT, TEXT))
def test_script_json_has_no_markup_and_the_same_value(value: dict[str, str]) -> None:
    text = script_json(value)
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


@given(st.dictionaries(TEXT, TEXT))
def test_packed_json_has_no_markup_and_the_same_value(value: dict[str, str]) -> None:
    text = packed_json(value)
    assert not set("<>&'\"") & set(text)
    assert json.loads(zlib.decompress(base64.b64decode(text))) == value


def _in_browser(text: str, start: int, length: int) -> str:
    """Slice as JavaScript does."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units[2 * start : 2 * (start + length)].decode("utf-16-le", "surrogatepass")


@given(st.text(alphabet="ab😀é<", min_size=1, max_size=30), st.data())
def test_positions_are_counted_as_browsers_count(context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    example = Example("q", "?", context, (Gold(context[start:end], start),), "t")
    columns = questions_json([example], [])
    assert _in_browser(context, *columns["golds"][0]) == context[start:end]
    outcome = Outcome(example, context[start:end], (start, end), 0.5, 0.5, 1.0, 1.0, (), 0, 0)
    assert _in_browser(context, *answers_json("run", [outcome])["answer"][0]) == context[start:end]


def test_every_context_and_gold_span_is_there_once() -> None:
    gold = Gold("a", 0)
    examples = [Example(str(at), "?", "a b", (gold, gold, Gold("b", 2)), "t") for at in range(3)]
    columns = questions_json(examples, [])
    assert columns["contexts"] == ["a b"]
    assert columns["context"] == [0, 0, 0]
    assert columns["golds"] == [[0, 1, 2, 1]] * 3


def test_an_answer_without_a_position_is_written_out() -> None:
    example = Example("q", "?", "a b", (Gold("a", 0),))
    columns = answers_json("run", [Outcome(example, "elsewhere", None, None, None, 0.0, 0.0, (), 2, None)])
    assert columns["answer"] == ["elsewhere"]
    assert columns["probability"] == [None]
    assert columns["rank"] == [-1]
