"""From a path to text: what the file is, gzip with limits, encodings, and lines.

Everything that is unpacked is counted while it is read, so that a small file cannot fill the memory.
"""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import accumulate, count
from pathlib import Path
from typing import BinaryIO, TextIO

from albertqa.data.problems import SourceError, quoted
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import DataError
from albertqa.schema import LFS_POINTER

MAX_RATIO = 200
"""How many times as large as stored a file may be unpacked, after its first 16 MiB: people's texts reach about 50."""

MAX_LINE_CHARS = 2**26
"""The longest line of a file that is read line by line: 64 Mi characters."""

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
ZIP_MAGIC = b"PK\x03\x04"

_MIN_SUSPECT_BYTES = 2**24
_HEAD_BYTES, _PIECE_BYTES = 2**12, 2**20
# What packed files begin with that people take for their data, and what to do about it.
_PACKED = {
    b"\xfd7zXZ\x00": "compressed with xz; unpack it (xz -d)",
    b"BZh": "compressed with bzip2; unpack it (bunzip2)",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; unpack it (zstd -d)",
    b"\x04\x22\x4d\x18": "compressed with LZ4; unpack it (lz4 -d)",
    b"7z\xbc\xaf\x27\x1c": "compressed with 7-Zip; unpack it (7z x)",
    b"Rar!\x1a\x07": "compressed with RAR; unpack it (unrar x)",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": (
        "an old Excel file (.xls) or a protected one; save it as .xlsx without a password, or as CSV in UTF-8"
    ),
}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class DataFile:
    """An existing file to be read as data.

    Raises:
        SourceError: Not a regular file, unreadable, empty, or something else than data by its first bytes.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        if not path.is_file():  # a FIFO would be waited for, a device has no end
            raise SourceError("unreadable-file", "expected a regular file or a folder saved by Dataset.save_to_disk")
        self.path = path
        self.max_bytes = options.max_unpacked_bytes
        try:
            self.size_bytes = path.stat().st_size
            if self.size_bytes > self.max_bytes:
                raise too_large(f"{self.size_bytes:,} bytes", self.max_bytes)
            with path.open("rb") as stream:
                self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                stream.seek(0)
                self.head = stream.read(_HEAD_BYTES)
        except OSError as error:
            raise SourceError("unreadable-file", f"cannot be read: {error.strerror or error}") from error
        _refuse_what_is_no_data(self.head)
        self.is_gzip = self.head.startswith(GZIP_MAGIC) or path.suffix.lower() == ".gz"
        self._encoding = options.encoding

    def open_bytes(self) -> BinaryIO:
        """Open the file, unpacked; reading raises `SourceError` where it is damaged or grows too large."""
        stored = self.path.open("rb")
        return io.BufferedReader(_Unpacked(stored, self.max_bytes)) if self.is_gzip else stored

    @cached_property
    def encoding(self) -> str:
        """The encoding of the text: what its byte-order mark says, else what the user says, else UTF-8.

        Raises:
            SourceError: There is no text.
            DataError: There is no encoding of the user's name.
        """
        with self.open_bytes() as stream:
            head = stream.read(_HEAD_BYTES)
        _refuse_what_is_no_data(head)
        marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
        name = marked or self._encoding or "utf-8"
        if name == "utf-8" and head.count(0) > len(head) // 3:
            wide = "utf-16-le" if head[:1] != b"\0" else "utf-16-be"
            message = f"expected UTF-8, found a zero in every other byte; name the encoding with --encoding {wide}"
            raise SourceError("wrong-encoding", message)
        try:
            "".encode(name)  # refuses codecs that are no encodings of text
        except (LookupError, ValueError) as error:
            raise DataError(f"encoding: expected one such as utf-8 or cp1252, found {quoted(name)}") from error
        return name

    @cached_property
    def first_character(self) -> str:
        """The first character that is no white space; empty where there is none.

        Raises:
            SourceError: The text is not in its encoding, or the file is damaged.
        """
        with self._open_text() as stream:
            try:
                while piece := stream.read(_HEAD_BYTES):
                    if stripped := piece.lstrip():
                        return stripped[0]
            except UnicodeError as error:
                raise self._wrong_encoding(error) from error
        return ""

    def lines(self, max_chars: int = MAX_LINE_CHARS) -> Iterator[str]:
        r"""Yield the lines with their ends ("\n", "\r\n" or "\r"), one by one.

        Raises:
            SourceError: A line is longer, the text is not in its encoding, or the file is damaged.
        """
        with self._open_text() as stream:
            for number in count(1):
                try:
                    line = stream.readline(max_chars + 1)
                except UnicodeError as error:
                    raise self._wrong_encoding(error) from error
                if len(line) > max_chars:
                    message = f"line {number:,} is longer than {max_chars:,} characters; this is no row of data"
                    raise SourceError("too-large", message, f"line {number}")
                if not line:
                    return
                yield line

    def text(self, max_bytes: int) -> str:
        """Read the whole text.

        Raises:
            SourceError: It has more bytes, is empty, not in its encoding, or damaged.
        """
        with self.open_bytes() as stream:  # counted before anything is kept
            sizes = accumulate(len(piece) for piece in iter(partial(stream.read, _PIECE_BYTES), b""))
            if any(size > max_bytes for size in (sizes if self.is_gzip else [self.size_bytes])):
                message = f"expected at most {max_bytes / 2**20:,.0f} MiB of JSON, found more; write it as JSON lines"
                raise SourceError("too-large", message)
        with self.open_bytes() as stream:
            data = stream.read()
        try:
            return data.decode(self.encoding)
        except UnicodeError as error:
            raise self._wrong_encoding(error) from error

    def _open_text(self) -> TextIO:
        encoding = self.encoding  # before the file is open
        return io.TextIOWrapper(self.open_bytes(), encoding=encoding, newline="")

    def _wrong_encoding(self, error: UnicodeError) -> SourceError:
        """Return what to say of text in another encoding: the first wrong byte, and how it reads in Windows-1252."""
        if not self.encoding.startswith("utf-8"):
            message = f"the text is not in the encoding {self.encoding} ({error}); name the right one with --encoding"
            return SourceError("wrong-encoding", message)
        offset = 0
        with self.open_bytes() as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as fault:
                    at = offset + fault.start
                    around = line[max(0, fault.start - 12) : fault.start + 12].decode("cp1252", "replace")
                    message = (
                        f"expected UTF-8, found byte 0x{line[fault.start]:02x} at offset {at:,} (line {number:,}); "
                        f"name the encoding with --encoding (cp1252 gives {quoted(around)} there), or save it as UTF-8"
                    )
                    return SourceError("wrong-encoding", message, f"line {number}")
                offset += len(line)
        return SourceError("wrong-encoding", "expected UTF-8, found other bytes at the end")


class _Unpacked(io.RawIOBase):
    """A gzip stream that ends in a `SourceError` where it is damaged, cut off, or unpacks to too much."""

    def __init__(self, stored: BinaryIO, max_bytes: int) -> None:
        self._stored = stored
        self._stream = gzip.GzipFile(fileobj=stored)
        self._max_bytes = max_bytes
        self._unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stored.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except EOFError as error:
            raise SourceError("broken-gzip", "the gzip stream is cut off; fetch or copy the file again") from error
        except (OSError, zlib.error) as error:
            raise SourceError("broken-gzip", f"the gzip stream is damaged: {error}; fetch the file again") from error
        self._unpacked_bytes += len(data)
        if self._unpacked_bytes > self._max_bytes:
            raise too_large("the unpacked data", self._max_bytes)
        refuse_bomb(self._unpacked_bytes, self._stored.tell())
        buffer[: len(data)] = data
        return len(data)


def refuse_bomb(unpacked_bytes: int, stored_bytes: int) -> None:
    """Refuse data that unpacks, so far or in all, to absurdly much.

    Raises:
        SourceError: More than 16 MiB, and more than `MAX_RATIO` times the stored size.
    """
    if unpacked_bytes > max(_MIN_SUSPECT_BYTES, MAX_RATIO * stored_bytes):
        raise SourceError(
            "too-large",
            f"unpacks to more than {MAX_RATIO} times its size, as no text does (a decompression bomb?); if it is "
            "right, unpack it yourself",
        )


def too_large(what: str, max_bytes: int) -> SourceError:
    """Return the error of data that is larger than it may be."""
    message = f"expected at most {max_bytes:,} bytes, found more ({what}); raise max_unpacked_bytes if that is right"
    return SourceError("too-large", message)


def _refuse_what_is_no_data(head: bytes) -> None:
    """Refuse what its first bytes show to be something else."""
    if not head:
        raise SourceError("empty-file", "the file is empty (0 bytes)")
    if head.startswith(LFS_POINTER):
        raise SourceError("not-fetched", "a Git LFS pointer, not the data itself; run 'git lfs pull' in its repository")
    for magic, message in _PACKED.items():
        if head.startswith(magic):
            raise SourceError("packed-file", message)
    if head[257:262] == b"ustar":
        raise SourceError("packed-file", "a tar archive; unpack it (tar -xf)")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise SourceError("unknown-structure", "a web page, not data; download the file itself")
