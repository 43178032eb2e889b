"""Data: read SQuAD, rows, tables and Hub data sets into `Example`; check, repair, split, hash and write them."""

from albertqa.data.checking import CheckReport, check_files
from albertqa.data.example import Example, Gold, content_sha256
from albertqa.data.formats.squad_json import squad_document, write_squad_json
from albertqa.data.problems import KINDS
from albertqa.data.raw_rows import ReadOptions
from albertqa.data.reading import load_examples, load_questions, load_several, read
from albertqa.data.splits import split_by_context

__all__ = [
    "KINDS",
    "CheckReport",
    "Example",
    "Gold",
    "ReadOptions",
    "check_files",
    "content_sha256",
    "load_examples",
    "load_questions",
    "load_several",
    "read",
    "split_by_context",
    "squad_document",
    "write_squad_json",
]
