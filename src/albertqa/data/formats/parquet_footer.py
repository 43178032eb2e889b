"""What a Parquet file's footer says of its columns, read without Arrow.

Arrow's own way to these numbers ends the process on some damaged footers, and they are needed before anything is read.

Source: Apache Parquet's file format (FileMetaData in parquet.thrift) in Thrift's compact protocol.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from albertqa.data.problems import SourceError, listed
from albertqa.data.unpacking import PARQUET_MAGIC

_MAX_DEPTH = 16
_BYTE_ARRAY = 6
# Field numbers of parquet.thrift.
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_TYPE, _PATH, _NUM_VALUES, _UNCOMPRESSED = 1, 3, 5, 6


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """A column in one group of rows.

    Attributes:
        path: Its name; of a nested column, with the names of its fields, separated by dots.
        is_text: Whether it holds texts.
        num_values: Its values, those within lists and missing ones included.
        unpacked_bytes: Its size unpacked, though perhaps still encoded.
    """

    path: str
    is_text: bool
    num_values: int
    unpacked_bytes: int


def column_chunks(stream: BinaryIO) -> list[ColumnChunk]:
    """Read the sizes of all columns, of one group of rows after the other, from the footer.

    Raises:
        SourceError: The footer is damaged, or two columns have one path.
    """
    try:
        groups = _Compact(_footer(stream)).struct(0)[_ROW_GROUPS]
        chunks = [[_chunk(column[_META_DATA]) for column in group[_COLUMNS]] for group in groups]
    except (IndexError, KeyError, TypeError, ValueError, OSError, struct.error) as error:
        raise SourceError("broken-parquet", "the Parquet file is damaged or cut off; fetch it again") from error
    for group in chunks:
        if len({chunk.path for chunk in group}) < len(group):  # 'answers.text' beside 'answers' with a field 'text'
            raise SourceError("unknown-structure", f"expected each column once, found {listed(c.path for c in group)}")
    return [chunk for group in chunks for chunk in group]


def _footer(stream: BinaryIO) -> bytes:
    size = stream.seek(0, 2)
    stream.seek(size - 8)
    length, magic = struct.unpack("<I4s", stream.read(8))
    if magic != PARQUET_MAGIC or length > size - 8:
        raise ValueError("no footer")
    stream.seek(size - 8 - length)
    return stream.read(length)


def _chunk(meta: dict[int, Any]) -> ColumnChunk:
    path = b".".join(meta[_PATH]).decode()
    return ColumnChunk(path, meta[_TYPE] == _BYTE_ARRAY, meta[_NUM_VALUES], meta[_UNCOMPRESSED])


class _Compact:
    """Thrift's compact protocol: structs as dictionaries of their field numbers."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while (head := self.byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self.integer()
            kind = head & 15
            # A field's truth value is in its head, an element's in a byte of its own.
            fields[number] = kind == 1 if kind in (1, 2) else self.value(kind, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        match kind:
            case 1 | 2 | 3:
                return self.byte()
            case 4 | 5 | 6:
                return self.integer()
            case 7:
                return self.bytes(8)
            case 8:
                return self.bytes(self.varint())
            case 9 | 10:
                head = self.byte()
                count = head >> 4 if head >> 4 < 15 else self.varint()
                return [self.value(head & 15, depth + 1) for _ in range(count)]
            case 12:
                return self.struct(depth + 1)
        raise ValueError("no type of a footer")  # 11, a map, is in none

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def bytes(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise ValueError("cut off")
        self.at += length
        return self.data[self.at - length : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 70:
                return value

    def integer(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
