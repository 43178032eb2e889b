"""``albertqa serve``: answer questions over HTTP, with a page to ask on."""

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.config import Backend, Precision, flag
from albertqa.errors import SettingsError
from albertqa.files import BEST, FINAL
from albertqa.serve.limits import ServeConfig


@dataclass(frozen=True)
class Serve:
    """Answer questions over HTTP, with a page to ask on."""

    model: Positional[Annotated[str, flag(metavar="MODEL")]]
    """Run directory (its best/), model folder, or Hub name."""
    documents: Annotated[Path | None, flag(metavar="FILE")] = None
    """Collection of indexed documents that the page offers (`albertqa index`)."""
    version_2_with_negative: Annotated[bool | None, flag()] = None
    """Whether "no answer" is an answer; unset: as the model was trained."""
    null_score_diff_threshold: Annotated[float | None, flag()] = None
    """v2.0: predict "no answer" where null score minus best answer's score is above this."""
    min_probability: Annotated[float | None, flag()] = None
    """Answers that are less probable become "no answer"."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU where there is one."""
    mixed_precision: Precision = "no"
    """Type of the matrix products. An answer never depends on what is asked at the same time: in half precision every
    window is read by itself, for that."""
    num_threads: Annotated[int | None, flag()] = None
    """CPU threads; unset: the library's choice."""
    backend: Backend = "auto"
    """What computes: `torch`, or `onnx` for a model of `albertqa export`; auto: as the folder's files say."""
    server: ServeConfig = field(default_factory=ServeConfig)
    """Where the server listens, and what it accepts. Example: --port 8080 --max-questions 16"""

    def run(self) -> int:
        """Load the model, and serve until stopped."""
        try:
            from albertqa.serve.server import log_safely, serve
        except ModuleNotFoundError as error:
            raise SettingsError(f"serve: {error.name} is not installed. Run: pip install 'albertqa[serve]'") from error
        from albertqa.answer.answerer import Answerer
        from albertqa.answer.collection import Collection

        # A key on the command line is seen by everybody on the machine.
        config = replace(self.server, api_key=self.server.api_key or os.environ.get("ALBERTQA_API_KEY") or None)
        config.check()
        documents = None if self.documents is None else Collection(self.documents)
        load = partial(
            Answerer,
            self.model,
            device=self.device,
            mixed_precision=self.mixed_precision,
            num_threads=self.num_threads,
            one_by_one=self.mixed_precision != "no",
            backend=self.backend,
            version_2_with_negative=self.version_2_with_negative,
            null_score_diff_threshold=self.null_score_diff_threshold,
            min_probability=self.min_probability,
        )
        log_safely()
        serve(load, _name(self.model), config, documents)
        return 0


def _name(model: str) -> str:
    """Return what to call a model: a run's or folder's own name, without the path."""
    path = Path(model).resolve()
    return path.parent.name if path.name in {BEST, FINAL} else path.name
