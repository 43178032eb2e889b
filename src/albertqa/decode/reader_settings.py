"""How a trained model reads: window lengths, decoding, "no answer", calibration. Imports no PyTorch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict, Unpack

import msgspec

from albertqa.config import SHARE, DecodeConfig, WindowConfig
from albertqa.decode.confidence import Confidence
from albertqa.errors import ModelError
from albertqa.files import READER_JSON, write_json
from albertqa.schema import read_struct


class ReaderChanges(TypedDict, total=False):
    """Reader settings given instead of a model's own (see `ReaderSettings`); None: the model's own."""

    max_seq_length: int | None
    doc_stride: int | None
    max_answer_length: int | None
    n_best_size: int | None
    null_score_diff_threshold: float | None
    version_2_with_negative: bool | None
    min_probability: float | None


@dataclass(frozen=True)
class ReaderSettings(DecodeConfig, WindowConfig):
    """How a model was trained to read: saved beside it as ``reader.json``, and the default of whoever uses it."""

    version_2_with_negative: bool | None = None
    """Whether "no answer" is an answer; None: not known, as the data says."""
    min_probability: Annotated[float, SHARE] = 0.0
    """Answers that are less probable become "no answer", whatever the data; evaluations do not apply it."""
    confidence: Confidence | None = None
    """What turns scores into calibrated probabilities; None: not calibrated, a probability is a softmax of scores."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from super().problems()
        if self.confidence is not None:
            yield from self.confidence.problems()

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        write_json(folder / READER_JSON, msgspec.to_builtins(self))

    @classmethod
    def load(cls, folder: Path) -> "ReaderSettings":
        """Read it from a model's folder; a model of another tool has none, and reads as the recipe says.

        Raises:
            AlbertQAError: The file is damaged, or a number is out of range.
        """
        path = folder / READER_JSON
        if not path.is_file():
            return cls()
        remedy = "Put the file back as it was, or remove it"
        settings = read_struct(path, cls, remedy=remedy)
        if problems := list(settings.problems()):
            raise ModelError(f"{path}: {'; '.join(problems)}. {remedy}")
        return settings

    def changed(self, **changes: Unpack[ReaderChanges]) -> "ReaderSettings":
        """Return the settings with some changed; those that are None stay.

        Raises:
            SettingsError: A number is out of range.
        """
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        settings = replace(self, **given)
        settings.check()
        return settings
