"""Answer more questions than fit the memory: in parts, restartable, on one machine, on many, or on an engine."""

from albertqa.bulk.frames import answer_frame
from albertqa.bulk.job import BulkJob, BulkProgress
from albertqa.bulk.ray_engine import ray_answers

__all__ = ["BulkJob", "BulkProgress", "answer_frame", "ray_answers"]
