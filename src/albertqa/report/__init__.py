"""The report of a run: one self-contained HTML page, and model cards for the Hub.

`write_report` writes the page of one or several run directories, `write_model_card` the cards of a run's models,
`describe_run` both for one run; `report_numbers` returns the page's numbers; `push_to_hub` uploads a model folder.
"""

from albertqa.report.card import write_model_card
from albertqa.report.describe import Description, describe_run
from albertqa.report.numbers import report_numbers
from albertqa.report.page import write_report
from albertqa.report.upload import push_to_hub

__all__ = ["Description", "describe_run", "push_to_hub", "report_numbers", "write_model_card", "write_report"]
