"""A collection of documents in one SQLite file: paragraphs as passages, found by BM25 (FTS5)."""

import hashlib
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from albertqa.answer.extract import SUFFIXES, read_text
from albertqa.errors import DataError, SettingsError
from albertqa.schema import is_unicode

_FORMAT = "albertqa collection 1"
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents(id), start_char INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX passages_of_document ON passages (document, start_char);
CREATE VIRTUAL TABLE passage_words USING fts5(
    text, content='passages', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO passage_words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
    INSERT INTO passage_words (passage_words, rowid, text) VALUES ('delete', old.id, old.text);
END;
"""

_LEAST_CHARS, _MOST_CHARS = 200, 2_000
"""A shorter paragraph (a heading, say) goes with the next one; a longer one is cut, at the end of a sentence."""

_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f][\"')\]\u201d]*\s+")
_WORD = re.compile(r"\w+")

_MOST_COUNTS = 100_000
"""Words whose number of passages is remembered."""

_MOST_MATCHES = 10_000
"""Matches of a question's words that a search looks at: its most common words are left out beyond them."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document.

    Attributes:
        document: The document's path below the indexed folder.
        start_char: Where the passage begins in the document's text.
        text: The passage.
        score: BM25 score for a question, higher is better.
    """

    document: str
    start_char: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What indexing a folder changed.

    Attributes:
        added: New documents.
        changed: Documents read again because their content changed.
        removed: Documents whose files are gone.
        unchanged: Documents left as they were.
        problems: One line for each file that could not be read; it is not in the collection.
        num_passages: Passages of the whole collection.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    problems: tuple[str, ...]
    num_passages: int


class Collection:
    """Documents to search, opened for reading.

    Safe to use from several threads. Close it, or use it in a ``with`` statement.

    Args:
        path: A file that `index_folder` wrote.

    Raises:
        DataError: There is no such file, or it is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._connection = _open(self._path, writable=False)
        self._lock = threading.Lock()
        self._count = lru_cache(_MOST_COUNTS)(self._count_passages)
        self.num_passages: int = self._rows("SELECT count(*) FROM passages")[0][0]

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def documents(self) -> list[str]:
        """Return the paths of all documents below the indexed folder, sorted."""
        return [row[0] for row in self._rows("SELECT path FROM documents ORDER BY path")]

    def text(self, document: str) -> str:
        """Return a document's text, which the offsets of its passages and answers count in.

        Raises:
            DataError: There is no such document.
        """
        rows = self._rows(
            "SELECT text FROM passages WHERE document = (SELECT id FROM documents WHERE path = ?) ORDER BY start_char",
            document,
        )
        if not rows:
            raise DataError(f"collection: has no document '{document}'")
        return "".join(row[0] for row in rows)

    def search(self, question: str, *, limit: int = 20) -> list[Passage]:
        """Return the passages that share the most telling words with a question, best first, and at most `limit`.

        Raises:
            SettingsError: The limit is below 1.

        Source:
            Okapi BM25 as SQLite's FTS5 has it (k1 1.2, b 0.75), over the question's words joined by OR.
        """
        if limit < 1:
            raise SettingsError(f"limit is {limit}, expected at least 1")
        query = self._query(question)
        if not query:
            return []
        rows = self._rows(
            "SELECT documents.path, passages.start_char, passages.text, -best.rank FROM"
            " (SELECT rowid, rank FROM passage_words WHERE passage_words MATCH ? ORDER BY rank LIMIT ?) AS best"
            " JOIN passages ON passages.id = best.rowid JOIN documents ON documents.id = passages.document"
            " ORDER BY best.rank, passages.id",
            query,
            limit,
        )
        return [Passage(*row) for row in rows]

    def _query(self, question: str) -> str:
        """Return the question's words, rarest first, as an FTS5 query."""
        words = dict.fromkeys(_WORD.findall(question.lower()))
        found = sorted((count, word) for word in words if (count := self._count(word)))
        sums = accumulate(count for count, _ in found)
        chosen = [word for (_, word), total in zip(found, sums, strict=True) if total <= _MOST_MATCHES]
        return " OR ".join(f'"{word}"' for word in chosen or [word for _, word in found[:1]])

    def _count_passages(self, word: str) -> int:
        """Return how many passages have a word, in any of its forms."""
        count: int = self._rows("SELECT count(*) FROM passage_words WHERE passage_words MATCH ?", f'"{word}"')[0][0]
        return count

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._lock, _explained(self._path, "the collection cannot be read"):
            return self._connection.execute(query, values).fetchall()


def index_folder(folder: Path, output: Path) -> IndexSummary:
    """Bring a collection up to date with a folder: new and changed files are read, removed ones are dropped.

    Args:
        folder: The folder, with its subfolders; files with other suffixes than `SUFFIXES` and hidden ones are left out.
        output: The SQLite file; a new one, or of an earlier call for the same folder. It changes in one transaction.

    Returns:
        What changed.

    Raises:
        DataError: There is no such folder, or the file is something else.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected one with documents to index")
    is_new = not output.exists()
    try:
        opened = closing(_create(output) if is_new else _open(output, writable=True))
        with _explained(output, "the collection cannot be brought up to date"), opened as connection, connection:
            _require_folder(connection, folder, output)
            return _update(connection, folder)
    except BaseException:
        if is_new:
            output.unlink(missing_ok=True)
        raise


def _create(path: Path) -> sqlite3.Connection:
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} is not there. Make it, or choose another --output")
    with _explained(path):
        connection = sqlite3.connect(path)
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO facts VALUES ('format', ?)", (_FORMAT,))
        connection.commit()
    return connection


def _open(path: Path, *, writable: bool) -> sqlite3.Connection:
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected a collection. Make one: albertqa index FOLDER --output {path}")
    with _explained(path):
        mode = "rw" if writable else "ro"
        # One connection for all threads; a lock guards it.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False)
        found = dict(connection.execute("SELECT name, value FROM facts WHERE name = 'format'").fetchall())
    if found.get("format") != _FORMAT:
        connection.close()
        raise DataError(
            f"{path}: expected '{_FORMAT}', found '{found.get('format')}'. Index the folder again into a new file"
        )
    return connection


@contextmanager
def _explained(path: Path, problem: str = "not a collection that 'albertqa index' wrote") -> Iterator[None]:
    """Turn SQLite's errors, and those of a damaged file's texts, into one line."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {problem} ({error})") from error


def _require_folder(connection: sqlite3.Connection, folder: Path, output: Path) -> None:
    """Note the folder in a new collection; refuse another folder than the one it was built from."""
    resolved = str(folder.resolve())
    connection.execute("INSERT OR IGNORE INTO facts VALUES ('folder', ?)", (resolved,))
    (found,) = connection.execute("SELECT value FROM facts WHERE name = 'folder'").fetchone()
    if found != resolved:
        raise DataError(f"{output}: is the collection of {found}, not of {resolved}. Choose another --output")


def _update(connection: sqlite3.Connection, folder: Path) -> IndexSummary:
    known = {
        row[0]: row[1:] for row in connection.execute("SELECT path, id, bytes, modified_ns, sha256 FROM documents")
    }
    added = changed = unchanged = 0
    problems: list[str] = []
    for file in _files(folder):
        path, facts = file.relative_to(folder).as_posix(), file.stat()
        if not is_unicode(path):
            problems.append(f"{file}: its name is not UTF-8. Rename it")
            continue
        number, num_bytes, modified_ns, sha256 = known.get(path, (None, None, None, None))
        if (num_bytes, modified_ns) == (facts.st_size, facts.st_mtime_ns):
            del known[path]
            unchanged += 1
            continue
        try:
            text = read_text(file)
            found_sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        except DataError as error:
            problems.append(str(error))
            continue
        known.pop(path, None)
        if found_sha256 == sha256:
            connection.execute(
                "UPDATE documents SET bytes = ?, modified_ns = ? WHERE id = ?",
                (facts.st_size, facts.st_mtime_ns, number),
            )
            unchanged += 1
            continue
        if number is None:
            added += 1
        else:
            changed += 1
            _remove(connection, number)
        _add(connection, path, (facts.st_size, facts.st_mtime_ns, found_sha256), text)
    # What is left was not found again.
    for number, *_ in known.values():
        _remove(connection, number)
    (num_passages,) = connection.execute("SELECT count(*) FROM passages").fetchone()
    return IndexSummary(added, changed, len(known), unchanged, tuple(problems), num_passages)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not is_hidden and path.is_file():
            yield path


def _add(connection: sqlite3.Connection, path: str, facts: tuple[int, int, str], text: str) -> None:
    number = connection.execute(
        "INSERT INTO documents (path, bytes, modified_ns, sha256) VALUES (?, ?, ?, ?)", (path, *facts)
    ).lastrowid
    connection.executemany(
        "INSERT INTO passages (document, start_char, text) VALUES (?, ?, ?)",
        ((number, start, passage) for start, passage in split_passages(text)),
    )


def _remove(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM passages WHERE document = ?", (number,))
    connection.execute("DELETE FROM documents WHERE id = ?", (number,))


def split_passages(text: str) -> Iterator[tuple[int, str]]:
    """Cut a document's text into passages that, joined, are the text again; blank lines end a paragraph.

    Yields:
        Start of each passage, and the passage with the white space after it.
    """
    start, ends = 0, {len(text), *(found.end() for found in _PARAGRAPH_END.finditer(text))}
    for end in sorted(ends - {0}):
        if end - start < _LEAST_CHARS and end < len(text):
            continue
        while end - start > _MOST_CHARS:
            cut = _cut(text, start)
            yield start, text[start:cut]
            start = cut
        yield start, text[start:end]
        start = end


def _cut(text: str, start: int) -> int:
    """Return where a long paragraph is cut: after its last sentence that fits, else its last word, else anywhere."""
    half, most = start + _MOST_CHARS // 2, start + _MOST_CHARS
    sentences = [found.end() for found in _SENTENCE_END.finditer(text, half, most)]
    if sentences:
        return sentences[-1]
    space = max(text.rfind(" ", half, most), text.rfind("\n", half, most))
    return space + 1 if space > 0 else most
