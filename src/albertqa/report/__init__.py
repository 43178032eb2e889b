"""What a run was worth: one self-contained page, and model cards for the Hub.

`describe_run` writes both for one run; `write_report` writes the page for one or several run directories,
`write_model_card` the cards of a run's models, and `push_to_hub` uploads a folder.
"""

from albertqa.report.card import write_model_card
from albertqa.report.describe import Description, describe_run
from albertqa.report.hub import push_to_hub
from albertqa.report.page import write_report

__all__ = ["Description", "describe_run", "push_to_hub", "write_model_card", "write_report"]
