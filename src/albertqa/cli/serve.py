"""``albertqa serve``: answer questions over HTTP, with a page to ask on."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from albertqa.config import Precision
from albertqa.errors import SettingsError
from albertqa.files import BEST, FINAL
from albertqa.serve.limits import ServeConfig


@dataclass(frozen=True)
class Serve:
    """Answer questions over HTTP, with a page to ask on."""

    model: tyro.conf.Positional[str]
    """Run directory (its best/), model folder, or Hub name."""
    config: tyro.conf.OmitArgPrefixes[ServeConfig]
    documents: Path | None = None
    """Collection of indexed documents that the page offers (`albertqa index`)."""
    version_2_with_negative: bool | None = None
    """Let "no answer" be an answer; unset: as the model was trained."""
    null_score_diff_threshold: float | None = None
    """Say "no answer" where its score beats the best answer's by more than this."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU where there is one."""
    mixed_precision: Precision = "no"
    """Type of the matrix products; `no` (fp32): an answer does not depend on what is asked at the same time."""
    num_threads: int | None = None
    """CPU threads; unset: PyTorch's choice."""


def run_serve(command: Serve) -> int:
    """Run ``albertqa serve``."""
    try:
        from albertqa.serve.server import log_safely, serve
    except ModuleNotFoundError as error:
        raise SettingsError(f"serve: {error.name} is not installed. Run: pip install 'albertqa[serve]'") from error
    from albertqa.answer.answerer import Answerer
    from albertqa.answer.collection import Collection

    # A key on the command line is seen by everybody on the machine.
    config = replace(command.config, api_key=command.config.api_key or os.environ.get("ALBERTQA_API_KEY"))
    config.check()
    documents = None if command.documents is None else Collection(command.documents)
    answerer = Answerer(
        command.model,
        device=command.device,
        mixed_precision=command.mixed_precision,
        num_threads=command.num_threads,
        version_2_with_negative=command.version_2_with_negative,
        null_score_diff_threshold=command.null_score_diff_threshold,
    )
    log_safely()
    serve(answerer, _name(command.model), config, documents)
    return 0


def _name(model: str) -> str:
    """Return what to call a model: a run's or folder's own name, without the path."""
    path = Path(model).resolve()
    return path.parent.name if path.name in {BEST, FINAL} else path.name
