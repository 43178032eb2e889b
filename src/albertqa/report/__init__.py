"""What a run was worth: one self-contained page, and model cards for the Hub.

`write_report` writes the page for one or several run directories, `write_model_card` the cards of a run's models, and
`push_to_hub` uploads a folder.
"""

from albertqa.report.card import write_model_card
from albertqa.report.hub import push_to_hub
from albertqa.report.page import write_report

__all__ = ["push_to_hub", "write_model_card", "write_report"]
