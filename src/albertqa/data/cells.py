"""Structured values that were printed into a table's cell: JSON, Python's own form, and NumPy's.

`Dataset.to_csv` and pandas write a dictionary as Python prints it, with whatever is in it: `{'text': array(['1911'],
dtype=object), 'answer_start': array([41])}`. NumPy prints a bare array without commas, `['a' 'b']`, which Python would
read as the one text 'ab'. So the cell is rewritten as JSON, token by token; nothing of it is ever evaluated.
"""

import ast
import json
import re
import warnings

from albertqa.schema import ParseError, parse_json

# A call's value is its first argument: array([...], dtype=object), np.int64(41), np.str_('x').
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>[bu]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?)
    | (?P<call>(?:(?:(?:np|numpy)\.)?(?:array|asarray|str_|bool_?|u?int\d{0,2}|float\d{0,2})|list|tuple)\()
    | (?P<keyword>[A-Za-z_]\w*\s*=\s*(?:[\w.]+|'[^']*'))
    | (?P<name>[A-Za-z_][\w.]*)
    | (?P<mark>[\[\](){},:])
    )""",
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = dict.fromkeys(("None", "null", "nan", "NaN"), "null") | {
    "True": "true",
    "true": "true",
    "False": "false",
    "false": "false",
}
# What closes a bracket, and what opens and closes it in JSON.
_BRACKETS = {"[": ("]", "[", "]"), "(": (")", "[", "]"), "{": ("}", "{", "}")}


class CellError(ValueError):
    """A cell holds no literal; the message says what was found where one was expected."""


def parse_cell(cell: str) -> object:
    """Parse a printed value.

    Returns:
        Lists, dictionaries, texts, numbers, truth values and None.

    Raises:
        CellError: It is no literal, or NumPy has shortened it.

    >>> parse_cell("{'text': array(['a', 'b'], dtype=object), 'answer_start': array([1, 20])}")
    {'text': ['a', 'b'], 'answer_start': [1, 20]}
    >>> parse_cell("['a' 'b']")
    ['a', 'b']
    """
    try:
        return parse_json(cell, nan_as_null=True)
    except ParseError:
        pass
    try:
        return parse_json(_as_json(cell))
    except ParseError as error:
        raise CellError("it is no literal, or one nested too deeply") from error


def _as_json(cell: str) -> str:
    """Rewrite a cell's tokens: commas where there are none, and neither calls nor keyword arguments."""
    pieces: list[str] = []
    closing: list[tuple[str, str]] = []  # of the open brackets: in the cell, and in JSON
    place, end = 0, len(cell.rstrip())
    while place < end:
        match = _TOKEN.match(cell, place)
        if match is None or match.lastgroup is None:
            shortened = cell[place:].lstrip().startswith("...")
            raise CellError("NumPy has shortened it with '...'" if shortened else "it is no literal")
        kind, token, place = match.lastgroup, match[match.lastgroup], match.end()
        if kind == "call":
            closing.append((")", ""))
        elif token in {",", ":"}:
            pieces.append(token)
        elif token in {"]", ")", "}"}:
            if not closing or closing[-1][0] != token:
                raise CellError("it is no literal")
            if pieces and pieces[-1] == ",":
                pieces.pop()
            pieces.append(closing.pop()[1])
        elif kind != "keyword":
            if pieces and pieces[-1] not in {"[", "{", ":", ","}:
                pieces.append(",")
            if token in _BRACKETS:
                end_of_it, opened, closed = _BRACKETS[token]
                pieces.append(opened)
                closing.append((end_of_it, closed))
            else:
                pieces.append(_value(kind, token))
    if closing or not pieces:
        raise CellError("it is cut off")
    return "".join(pieces)


def _value(kind: str, token: str) -> str:
    """Return a text, a number or a constant as JSON."""
    if kind == "name":
        if token not in _CONSTANTS:
            raise CellError("it is no literal")
        return _CONSTANTS[token]
    if token.startswith("b"):
        raise CellError("bytes where a text was expected")
    try:
        if kind == "number":
            return json.dumps(int(token) if token.lstrip("+-").isdecimal() else float(token))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which are the file's
            return json.dumps(ast.literal_eval(token.replace("\r", "\\r").replace("\n", "\\n")))
    except (ValueError, SyntaxError, MemoryError) as error:
        raise CellError("a text with a broken escape, or a number of absurd length") from error
