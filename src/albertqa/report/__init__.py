"""The report of a run: one self-contained HTML page, and model cards for the Hub."""

from albertqa.report.numbers import report_numbers
from albertqa.report.page import describe_run, write_report
from albertqa.report.upload import push_to_hub

__all__ = ["describe_run", "push_to_hub", "report_numbers", "write_report"]
