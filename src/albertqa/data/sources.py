"""From what the user names to a stream of rows: a path, a Hub name, or rows in memory."""

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albertqa.data.formats.arrow import dataset_rows, parquet_rows
from albertqa.data.formats.csv_files import read_csv_file
from albertqa.data.formats.excel import read_excel_file
from albertqa.data.formats.hub_datasets import fetch_dataset, load_folder, parse_hub_name, pick_split
from albertqa.data.formats.in_memory import frame_rows, mapping_rows
from albertqa.data.formats.json_files import JSON_SUFFIXES, read_json_file
from albertqa.data.problems import SourceError, quoted
from albertqa.data.raw_rows import ReadOptions, Rows
from albertqa.data.starter import Split, starter_file
from albertqa.data.unpacking import PARQUET_MAGIC, ZIP_MAGIC, DataFile
from albertqa.errors import DataError, printable

# Names of the bundled data, and whether they mean its v2.0 form; its dev part is called validation, too, as on the Hub.
_STARTER_NAMES = {"starter": False, "starter-v2": True}
_STARTER_PARTS: dict[str | None, Split] = {"train": "train", "validation": "dev", "dev": "dev"}


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is open for reading: its questions in order, and facts (see `ReadResult`)."""

    format: str
    rows: Rows
    version: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None


def source_name(source: object) -> str:
    """Return what a source is called in messages: a path as the user wrote it, else what it is."""
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source))
    return {"DataFrame": "data frame", "list": "rows", "tuple": "rows"}.get(type(source).__name__, "data set")


def open_source(source: object, split: str | None, options: ReadOptions) -> Source:
    """Open anything that `read` takes.

    Raises:
        SourceError: The source cannot be read.
        DataError: The source is of a type nobody reads, or has no splits to choose from.
    """
    if not isinstance(source, str | os.PathLike):
        return _in_memory(source, split, options)
    text = os.fspath(source)
    # Before any folder of that name: `./starter` still means the folder.
    name, _, stated = text.partition(":")
    if name in _STARTER_NAMES:
        return _file(_starter(name, _one_split(text, stated, split)), options)
    path = Path(text)
    is_there = bool(text) and _exists(path)
    if is_there and not path.is_dir():
        _refuse_split(split, "a file")
        return _file(path, options)
    folder, _, stated = (text, "", None) if is_there else text.rpartition(":")
    if folder and _exists(Path(folder)) and Path(folder).is_dir():
        found = load_folder(Path(folder), _one_split(text, stated, split))
        return Source("saved-dataset", dataset_rows(found, options))
    if (named := parse_hub_name(text)) is not None:
        return Source("hub", dataset_rows(fetch_dataset(named[0], _one_split(text, named[1], split)), options))
    raise SourceError("no-such-file", f"there is no such file or folder{_similar_name(path)}")


def _file(path: Path, options: ReadOptions) -> Source:
    file = DataFile(path, options)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    version = None
    if file.is_gzip and suffix in {".parquet", ".xlsx"}:
        raise SourceError("packed-file", "compressed with gzip; unpack it (gunzip)")
    if file.head.startswith(PARQUET_MAGIC) or suffix == ".parquet":
        form, rows = "parquet", parquet_rows(file, options)
    elif file.head.startswith(ZIP_MAGIC) or suffix == ".xlsx":
        form, rows = "xlsx", read_excel_file(file, options)
    elif not file.first_character:
        raise SourceError("empty-file", "the file holds nothing but white space")
    elif suffix in JSON_SUFFIXES or file.first_character in "{[":
        form, version, rows = read_json_file(file, suffix, options)
    else:
        form, rows = read_csv_file(file, options)
    return Source(form, rows, version, file.size_bytes, file.sha256)


def _starter(name: str, split: str | None) -> Path:
    if split not in _STARTER_PARTS:
        found = "none" if split is None else quoted(split)
        message = f"the starter set has two parts, found {found}; name {name}:train or {name}:validation"
        raise SourceError("no-such-file", message)
    return starter_file(_STARTER_PARTS[split], version_2=_STARTER_NAMES[name])


def _one_split(source: str, stated: str | None, asked: str | None) -> str | None:
    if stated and asked and stated != asked:
        raise DataError(f"{source}: two splits are named, {quoted(stated)} and {quoted(asked)}; name one")
    return asked or stated or None


def _similar_name(path: Path) -> str:
    """Return a hint to the file that was probably meant."""
    try:
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f"; did you mean {printable(str(path.with_name(near[0])))}?" if near else ""


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


def _in_memory(source: object, split: str | None, options: ReadOptions) -> Source:
    # Whoever holds a data frame or a data set has imported its library, so we need not.
    datasets: Any = sys.modules.get("datasets")
    if datasets is not None and isinstance(
        source, datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict
    ):
        chosen = pick_split(source, split)
        if isinstance(chosen, datasets.IterableDataset):
            return Source("dataset", mapping_rows(chosen, options))
        return Source("dataset", dataset_rows(chosen, options))
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        _refuse_split(split, "a data frame")
        return Source("dataframe", frame_rows(source, options))
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray):
        _refuse_split(split, "a list of rows")
        return Source("rows", mapping_rows(source, options))
    raise DataError(
        f"expected a path, a Hub name, a pandas DataFrame, a datasets.Dataset or a list of rows, found {quoted(source)}"
    )
