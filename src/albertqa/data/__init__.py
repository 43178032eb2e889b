"""Data: read SQuAD, flat rows, tables and Hub data sets into `Example`; check, repair and hash them."""

from albertqa.data.checking import CheckReport, FileFacts, ProblemGroup, check_files
from albertqa.data.example import Example, Gold, content_sha256, has_unanswerable
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.problems import KINDS, Problem
from albertqa.data.reading import MAX_UNPACKED_BYTES, ReadResult, load_examples, read
from albertqa.data.repair import RepairedCopy

__all__ = [
    "KINDS",
    "MAX_UNPACKED_BYTES",
    "CheckReport",
    "Example",
    "FileFacts",
    "Gold",
    "Problem",
    "ProblemGroup",
    "ReadResult",
    "RepairedCopy",
    "check_files",
    "content_sha256",
    "has_unanswerable",
    "load_examples",
    "read",
    "squad_document",
]
