"""JSON and JSON lines, in whichever of their forms: SQuAD's own, MRQA's, or rows.

Which of them a file is shows in its content, never in its name alone: `.json` is used for all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from albertqa.data.formats.squad_json import article_rows, is_header, is_mrqa_question, paragraph_rows
from albertqa.data.problems import SourceError, listed, quoted
from albertqa.data.raw_rows import BrokenRow, ReadOptions, Row, Rows, columns_message, row_fields
from albertqa.data.unpacking import MAX_LINE_CHARS, DataFile
from albertqa.errors import printable
from albertqa.schema import ParseError, TooLargeError, parse_json

JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
_LINE_SUFFIXES = {".jsonl", ".ndjson"}

_MAX_VERSION_CHARS = 40
_LINES_TRIED, _MAX_TRIED_CHARS = 10, 2**21
# What a whole JSON text may have in any case, and its share of the limit on unpacked data: what is not read line by
# line takes several times its size.
_MIN_WHOLE_BYTES, _WHOLE_SHARE = 2**24, 8
_EXPECTED = "SQuAD's JSON (data, paragraphs, qas) or rows with question, context and answers"
_NAME_THEM = "Name the keys of rows with --question-column, --context-column and --answer-column"

# What a record of another tool is, by keys that it has. The first that fits counts.
_SCHEMAS = {
    "story questions": "CoQA's conversations",
    "annotations data": "an export of Label Studio",
    "completions data": "an old export of Label Studio",
    "document_text question_text": "Natural Questions",
    "document_html question_text": "Natural Questions",
    "document question annotations": "Natural Questions of the Hub",
    "document_plaintext question_text": "TyDi QA's primary task",
    "question supporting_facts context": "HotpotQA",
    "question entity_pages answer": "TriviaQA of the Hub",
    "Question Answer QuestionId": "TriviaQA",
    "Data Domain": "TriviaQA",
    "features rows": "a page of the Hub's data viewer",
    "columns index data": "pandas' split form (write it with orient='records', lines=True)",
    "passage qa_pairs": "DROP",
    "context_text qas": "CMRC 2018's first form",
    "text questions storyId": "NewsQA",
    "story_id text questions": "NewsQA",
    "article questions options": "RACE",
    "passages query answers": "MS MARCO",
    "support correct_answer": "SciQ",
    "query candidates supports": "WikiHop",
    "sentences qas": "a file of sentences, not of contexts",
    "text label": "an export of an annotation tool (Doccano, Label Studio)",
    "text labels": "an export of an annotation tool (Doccano)",
    "text entities": "an export of an annotation tool (Doccano)",
    "text spans": "Prodigy's annotations",
    "instruction output": "instruction data (Alpaca)",
    "messages": "chat messages",
    "conversations": "chat messages (ShareGPT)",
    "input_ids": "tokens, not texts",
    "premise hypothesis": "natural language inference",
}


def read_json_file(file: DataFile, suffix: str, options: ReadOptions) -> tuple[str, str | None, Rows]:
    """Read a JSON file of a suffix, without `.gz` and in lower case.

    Returns:
        The format (`squad-json`, `json-rows`, `jsonl` or `mrqa`), the version it states, and the rows.

    Raises:
        SourceError: Not JSON (with line and column), or JSON of another kind.
    """
    most = max(_MIN_WHOLE_BYTES, options.max_unpacked_bytes // _WHOLE_SHARE)
    is_named_lines = suffix in _LINE_SUFFIXES
    head = _head(file, MAX_LINE_CHARS if is_named_lines else _MAX_TRIED_CHARS)
    records = [_record(line) for line in head] if is_named_lines or len(head) > 1 else []
    if any(record is not None for record in (records if is_named_lines else records[:1])):
        form = _lines_format([record for record in records if record is not None], options)
        return form, None, _line_rows(file, options)
    items, version = _items(_parse(file.text(most)))
    _refuse_foreign(items, options)
    is_nested = bool(items) and isinstance(items[0], dict) and bool(items[0].keys() & {"paragraphs", "qas"})
    numbered = ((f"row {number + 1}", f"data[{number}]", item) for number, item in enumerate(items))
    return "squad-json" if is_nested else "json-rows", version, _rows(numbered, options)


def _head(file: DataFile, max_chars: int) -> list[str]:
    """Return the first lines that are not blank; none where one is so long that the file is no list of records."""
    try:
        return list(islice((line for line in file.lines(max_chars) if line.strip()), _LINES_TRIED))
    except SourceError as error:
        if error.kind == "too-large" and error.place:
            return []
        raise


def _parse(text: str, line: int = 1) -> object:
    try:
        return parse_json(text.removeprefix("\ufeff"), first_line=line, nan_as_null=True)
    except ParseError as error:
        kind = "too-large" if isinstance(error, TooLargeError) else "broken-json"
        raise SourceError(kind, error.message, f"line {error.line}") from error


def _record(line: str) -> Mapping[str, object] | None:
    """Return a line's record where it is one by itself, as no line of a pretty-printed file's head is."""
    try:
        value = _parse(line)
    except SourceError:
        return None
    return value if isinstance(value, dict) and not isinstance(value.get("data"), list) else None


def _lines_format(records: Sequence[Mapping[str, object]], options: ReadOptions) -> str:
    records = [record for record in records if not is_header(record)] or records
    _refuse_foreign(records, options)
    first = records[0]
    qas = first.get("qas")
    questions = [one for one in qas if isinstance(one, dict)] if isinstance(qas, list) else []
    return "mrqa" if is_header(first) or any(map(is_mrqa_question, questions)) else "jsonl"


def _items(root: object) -> tuple[list[object], str | None]:
    """Return the articles, paragraphs or rows of a JSON text, and the version it states."""
    if isinstance(root, list):
        return root, None
    if isinstance(root, dict):
        if isinstance(data := root.get("data"), list) and "columns" not in root:
            version = root.get("version")
            stated = isinstance(version, str | float) or type(version) is int
            return data, printable(str(version)[:_MAX_VERSION_CHARS]) if stated else None
        if root.keys() & {"paragraphs", "qas"} or all(
            isinstance(root.get(key), str) for key in ("question", "context")
        ):
            return [root], None
    raise SourceError("unknown-structure", f"expected {_EXPECTED}; found {_described(root)}")


def _described(root: object) -> str:
    if not isinstance(root, dict):
        return quoted(root)
    if any(isinstance(root.get(key), dict | list) for key in ("question", "context")):
        return "one object of columns (from pandas? write it with to_json(path, orient='records', lines=True))"
    if root and all(isinstance(value, str) for value in islice(root.values(), 100)):
        return "texts by id (a predictions file?)"
    first = next(iter(root.values()), None)
    if isinstance(first, dict) and all(isinstance(value, dict) for value in islice(root.values(), 100)):
        return f"objects by id: {_foreign_schema(first)}"
    return _foreign_schema(root)


def _foreign_schema(record: object) -> str:
    """Return what another tool's record is, where that is known, and its keys."""
    if not isinstance(record, Mapping):
        return quoted(record)
    name = next((name for keys, name in _SCHEMAS.items() if record.keys() >= set(keys.split())), "other records")
    return f"{name} (keys {listed(record)})"


def _refuse_foreign(items: Sequence[object], options: ReadOptions) -> None:
    """Refuse a file none of whose records can hold a question, in one line instead of several a record."""
    names = options.names
    if not items or any(_can_hold_question(item, names) for item in items):
        return
    first = items[0]
    missing = [name for field, name in names.items() if name != field and isinstance(first, dict) and name not in first]
    if missing and isinstance(first, dict):
        raise SourceError("unknown-structure", columns_message(missing, first))
    raise SourceError("unknown-structure", f"expected {_EXPECTED}; found {_foreign_schema(first)}. {_NAME_THEM}")


def _can_hold_question(item: object, names: Mapping[str, str]) -> bool:
    if not isinstance(item, dict):
        return False
    is_row = names["question"] in item and not isinstance(item.get(names["context"], []), list | dict)
    return is_row or bool(item.keys() & {"paragraphs", "qas"})


def _line_rows(file: DataFile, options: ReadOptions) -> Rows:
    for number, line in enumerate(file.lines(), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = _parse(line, number)
        except SourceError as error:
            yield BrokenRow(place, error.kind, error.message)
        else:
            if number > 1 or not (isinstance(value, dict) and is_header(value)):
                yield from _rows([(place, place, value)], options)


def _rows(items: Iterable[tuple[str, str, object]], options: ReadOptions) -> Rows:
    names = options.names
    for place, path, item in items:
        if not isinstance(item, dict):
            yield BrokenRow(place, "unknown-structure", f"expected an object, found {quoted(item)}")
        elif "paragraphs" in item:
            yield from article_rows(item, path, names)
        elif "qas" in item:
            yield from paragraph_rows(item, item.get("title"), path, names)
        else:
            yield Row(place, row_fields(item, names), item.keys())
