"""Structured values that were printed into a table's cell: JSON, Python's own form, and NumPy's.

`Dataset.to_csv` and pandas write a dictionary as Python prints it, with whatever is in it: `{'text': array(['1911'],
dtype=object), 'answer_start': array([41])}`. NumPy prints a bare array without commas, `['a' 'b']`, which Python would
read as the one text 'ab'. So the cell is parsed here, by a grammar of literals; nothing of it is ever evaluated.
"""

import ast
import re
import warnings

from albertqa.schema import ParseError, parse_json

_MAX_DEPTH = 20
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>[bu]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
    | (?P<number>[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?)
    | (?P<name>[A-Za-z_][\w.]*)
    | (?P<mark>[\[\](){},:=])
    )""",
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = {
    "None": None,
    "null": None,
    "nan": None,
    "NaN": None,
    "True": True,
    "true": True,
    "False": False,
    "false": False,
}
# Calls whose first argument is the value: array([...], dtype=object), np.int64(41), np.str_('x').
_CALL = re.compile(r"(?:(?:np|numpy)\.)?(?:array|asarray|str_|bool_?|u?int\d{0,2}|float\d{0,2})|list|tuple")


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
        return _Literal(cell).whole()


class _Literal:
    """A cell being parsed: its tokens, and how far they are read."""

    def __init__(self, cell: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        place, end = 0, len(cell.rstrip())
        while place < end:
            match = _TOKEN.match(cell, place)
            if match is None:
                shortened = cell[place:].lstrip().startswith("...")
                raise CellError("NumPy has shortened it with '...'" if shortened else "it is no literal")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            place = match.end()

    def whole(self) -> object:
        value = self.value(0)
        if self.at < len(self.tokens):
            raise CellError("it goes on after the value")
        return value

    def value(self, depth: int) -> object:
        kind, token = self.take()
        if depth > _MAX_DEPTH:
            raise CellError("it is nested too deeply")
        if kind == "text":
            return _text(token)
        if kind == "number":
            return _number(token)
        if token in "[(" and kind == "mark":
            return self.items("]" if token == "[" else ")", depth)
        if token == "{":
            return self.dictionary(depth)
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        if kind == "name" and _CALL.fullmatch(token) and self.take() == ("mark", "("):
            arguments = self.items(")", depth)
            return arguments[0] if arguments else []
        raise CellError("it is no literal")

    def items(self, end: str, depth: int) -> list[object]:
        """Read what is between brackets, with or without commas; keyword arguments are dropped."""
        found: list[object] = []
        while not self.accept(end):
            if self.peek(1) == ("mark", "="):
                self.at += 2
                self.take()
            else:
                found.append(self.value(depth + 1))
            self.accept(",")
        return found

    def dictionary(self, depth: int) -> dict[object, object]:
        found: dict[object, object] = {}
        while not self.accept("}"):
            key = self.value(depth + 1)
            if not isinstance(key, str) or not self.accept(":"):
                raise CellError("a key without a value")
            found[key] = self.value(depth + 1)
            self.accept(",")
        return found

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ("", "")

    def accept(self, mark: str) -> bool:
        if self.peek() != ("mark", mark):
            return False
        self.at += 1
        return True

    def take(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise CellError("it is cut off")
        self.at += 1
        return self.tokens[self.at - 1]


def _text(token: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which are the file's
            value = ast.literal_eval(token if "\n" not in token else token.replace("\r", "\\r").replace("\n", "\\n"))
    except (ValueError, SyntaxError, MemoryError) as error:
        raise CellError("a text with a broken escape") from error
    if not isinstance(value, str):
        raise CellError("bytes where a text was expected")
    return value


def _number(token: str) -> int | float:
    try:
        return int(token)
    except ValueError:
        pass
    try:
        return float(token)
    except ValueError as error:
        raise CellError("a number of absurd length") from error
