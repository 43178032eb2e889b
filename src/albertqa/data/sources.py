"""From what the user names to a stream of records: a path, a Hub name, or rows in memory."""

import difflib
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albertqa.data.formats import hub_datasets, tables
from albertqa.data.formats.csv_files import parse_csv_text
from albertqa.data.formats.json_files import parse_json_text
from albertqa.data.problems import SourceError, one_line, quoted
from albertqa.data.rows import Broken, Record
from albertqa.data.starter import starter_file
from albertqa.data.unpacking import GZIP_MAGIC, PARQUET_MAGIC, decoded, gunzip, stored_bytes
from albertqa.errors import DataError

# Names of the bundled data, and whether they mean its v2.0 form.
_STARTER_NAMES = {"starter": False, "starter-v2": True}
_LINE_SUFFIXES = {".jsonl", ".ndjson"}
_JSON_SUFFIXES = {".json", *_LINE_SUFFIXES}


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is open for reading.

    Attributes:
        format: The form it turned out to have.
        records: Its questions, in order.
        version: What the file says of itself, if anything.
        size_bytes: The size as stored, of files.
        sha256: The hash of the stored bytes, of files.
    """

    format: str
    records: Iterator[Record | Broken]
    version: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


def source_name(source: object) -> str:
    """Name a source in messages: a path as the user wrote it, else what it is."""
    if isinstance(source, str | os.PathLike):
        return one_line(os.fspath(source))
    return {"DataFrame": "data frame", "list": "rows", "tuple": "rows"}.get(type(source).__name__, "data set")


def open_source(source: object, split: str | None, max_unpacked_bytes: int) -> Source:
    """Open anything that `read` takes.

    Args:
        source: A path, a Hub name, a data frame, a data set, or a list of rows.
        split: The split of a Hub name, a saved folder or a `DatasetDict`.
        max_unpacked_bytes: The largest file to read, unpacked.

    Returns:
        The open source.

    Raises:
        SourceError: The source cannot be read.
        DataError: The source is of a type nobody reads, or has no splits to choose from.
    """
    if not isinstance(source, str | os.PathLike):
        return _in_memory(source, split)
    text = os.fspath(source)
    # Before any folder of that name: `./starter` still means the folder.
    name, _, stated = text.partition(":")
    if name in _STARTER_NAMES:
        return _file(_starter(name, _one_split(text, stated, split)), max_unpacked_bytes)
    path = Path(text)
    if text and _exists(path):
        if path.is_dir():
            return Source("saved-dataset", tables.dataset_records(hub_datasets.load_folder(path, split)))
        _refuse_split(split, "a file")
        return _file(path, max_unpacked_bytes)
    folder, _, folder_split = text.rpartition(":")
    if folder and _exists(Path(folder)) and Path(folder).is_dir():
        chosen = _one_split(text, folder_split, split)
        return Source("saved-dataset", tables.dataset_records(hub_datasets.load_folder(Path(folder), chosen)))
    if (named := hub_datasets.parse_hub_name(text)) is not None:
        return Source("hub", tables.dataset_records(hub_datasets.fetch(named[0], _one_split(text, named[1], split))))
    raise SourceError("no-such-file", f"there is no such file or folder{_similar_name(path)}")


def _starter(name: str, split: str | None) -> Path:
    """Find a part of the bundled starter set; its dev part is called validation, too, as on the Hub."""
    if split is None:
        raise SourceError("no-such-file", f"the starter set has two parts; name one: {name}:train or {name}:validation")
    part = {"train": "train", "validation": "dev", "dev": "dev"}.get(split)
    if part not in ("train", "dev"):
        raise SourceError(
            "no-such-file", f"the starter set has no part {quoted(split)}; name {name}:train or {name}:validation"
        )
    return starter_file("train" if part == "train" else "dev", version_2=_STARTER_NAMES[name])


def _one_split(source: str, stated: str | None, asked: str | None) -> str | None:
    if stated and asked and stated != asked:
        raise DataError(f"{one_line(source)}: two splits are named, {quoted(stated)} and {quoted(asked)}; name one")
    return asked or stated or None


def _similar_name(path: Path) -> str:
    """Suggest the file that was probably meant."""
    try:
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {one_line(str(path.with_name(near[0])))}?" if near else ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError as error:
        raise SourceError("unreadable-file", "the folder may not be read") from error
    except (OSError, ValueError) as error:  # a name too long for the system, or with a NUL in it
        raise SourceError("no-such-file", "there is no such file or folder") from error


def _refuse_split(split: str | None, what: str) -> None:
    if split is not None:
        raise DataError(f"split {quoted(split)}: {what} has no splits; leave the split out")


def _file(path: Path, max_unpacked_bytes: int) -> Source:
    stored = stored_bytes(path, max_unpacked_bytes)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    size_bytes, sha256 = len(stored), hashlib.sha256(stored).hexdigest()
    if stored.startswith(PARQUET_MAGIC) or suffix == ".parquet":
        return Source("parquet", tables.parquet_records(stored), None, size_bytes, sha256)
    is_packed = stored.startswith(GZIP_MAGIC) or path.suffix.lower() == ".gz"
    text = decoded(gunzip(stored, max_unpacked_bytes) if is_packed else stored)
    if _begins_as_json(text) or suffix in _JSON_SUFFIXES:
        parsed = parse_json_text(text, named_lines=suffix in _LINE_SUFFIXES)
        return Source(parsed.format, parsed.records, parsed.version, size_bytes, sha256)
    table_format, records = parse_csv_text(text)
    return Source(table_format, records, None, size_bytes, sha256)


def _begins_as_json(text: str) -> bool:
    return text[: 1 + len(text) - len(text.lstrip())][-1:] in {"{", "["}


def _in_memory(source: object, split: str | None) -> Source:
    # Whoever holds a data frame or a data set has imported its library, so we need not.
    datasets: Any = sys.modules.get("datasets")
    if datasets is not None and isinstance(
        source, datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict
    ):
        chosen = hub_datasets.pick_split(source, split)
        if isinstance(chosen, datasets.IterableDataset):
            return Source("dataset", tables.row_records(chosen))
        return Source("dataset", tables.dataset_records(chosen))
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        _refuse_split(split, "a data frame")
        return Source("dataframe", tables.frame_records(source))
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray):
        _refuse_split(split, "a list of rows")
        return Source("rows", tables.row_records(source))
    raise DataError(
        f"expected a path, a Hub name, a pandas DataFrame, a datasets.Dataset or a list of rows, found {quoted(source)}"
    )
