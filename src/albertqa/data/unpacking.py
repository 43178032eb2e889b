"""From a path to text: stored bytes, gzip with a limit, UTF-8."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from albertqa.data.problems import SourceError

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
_ZIP_MAGIC = b"PK\x03\x04"
_CHUNK_BYTES = 1 << 20
_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def stored_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a file as it is stored.

    Args:
        path: An existing file.
        max_bytes: Refuse a larger file before reading it.

    Returns:
        The file's bytes.

    Raises:
        SourceError: Not a regular file, too large, unreadable or empty.
    """
    if not path.is_file():
        raise SourceError("unreadable-file", "expected a regular file or a folder saved by Dataset.save_to_disk")
    try:
        if path.stat().st_size > max_bytes:
            raise SourceError("too-large", _too_large(f"{path.stat().st_size:,} bytes", max_bytes))
        data = path.read_bytes()
    except OSError as error:
        raise SourceError("unreadable-file", f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise SourceError("empty-file", "the file is empty (0 bytes)")
    if data.startswith(_ZIP_MAGIC):
        message = "a zip archive or spreadsheet; unpack it, or save the sheet as CSV in UTF-8"
        raise SourceError("unknown-structure", message)
    return data


def gunzip(data: bytes, max_bytes: int) -> bytes:
    """Unpack gzip data, whose size is counted first in small pieces so that a bomb never fills the memory.

    Args:
        data: One or several gzip members.
        max_bytes: The largest size to unpack.

    Returns:
        The unpacked bytes.

    Raises:
        SourceError: Damaged or cut off, or larger than `max_bytes` when unpacked.
    """
    try:
        unpacked_bytes = 0
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(_CHUNK_BYTES):
                unpacked_bytes += len(piece)
                if unpacked_bytes > max_bytes:
                    raise SourceError("too-large", _too_large("the unpacked data", max_bytes))
        return gzip.decompress(data)
    except EOFError as error:
        raise SourceError("broken-gzip", "the gzip stream is cut off; fetch or copy the file again") from error
    except (OSError, zlib.error) as error:
        raise SourceError("broken-gzip", f"the gzip stream is damaged: {error}; fetch the file again") from error


def decoded(data: bytes) -> str:
    """Decode UTF-8 with or without a byte-order mark.

    Args:
        data: The unpacked bytes.

    Returns:
        The text, without the mark.

    Raises:
        SourceError: Not UTF-8, with the first offending byte's offset and line; or nothing but white space.
    """
    for mark, encoding in _WIDE_MARKS.items():
        if data.startswith(mark):
            raise SourceError("wrong-encoding", f"expected UTF-8, found {encoding}; save the file as UTF-8", "line 1")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = (
            f"expected UTF-8, found byte 0x{data[error.start]:02x} at offset {error.start:,} (line {line:,}); "
            "save the file as UTF-8 (from Windows-1252: iconv -f WINDOWS-1252 -t UTF-8)"
        )
        raise SourceError("wrong-encoding", message, f"line {line}") from error
    text = text.removeprefix("\ufeff")
    if not text or text.isspace():
        raise SourceError("empty-file", "the file holds nothing but white space")
    return text


def lines_of(text: str) -> Iterator[str]:
    r"""Cut a text after each "\n" and nowhere else, without a second copy of it.

    `str.splitlines` would also cut at U+2028 and others, which JSON and tables allow inside a text; `io.StringIO`
    takes four bytes a character.

    Args:
        text: The decoded file.

    Yields:
        The lines with their ends.
    """
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _too_large(what: str, max_bytes: int) -> str:
    return f"expected at most {max_bytes:,} bytes, found more ({what}); raise max_unpacked_bytes if that is right"
