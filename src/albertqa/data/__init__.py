"""Data: read SQuAD, flat rows, tables and Hub data sets into `Example`; check, repair and hash them."""

from albertqa.data.check import CheckReport, FileFacts, ProblemGroup, check_files
from albertqa.data.content import content_sha256
from albertqa.data.example import Example, Gold, has_unanswerable
from albertqa.data.problem import KINDS, Problem
from albertqa.data.read import MAX_UNPACKED_BYTES, ReadResult, load_examples, read
from albertqa.data.squad_json import RepairedCopy, squad_document

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
