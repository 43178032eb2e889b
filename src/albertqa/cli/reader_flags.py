"""How a trained model reads, as flags of the commands that use one."""

from dataclasses import dataclass
from typing import Annotated, Any

from albertqa.config import Backend, DeviceConfig, flag


@dataclass(frozen=True)
class ReaderFlags:
    """Reader settings instead of those that the model was trained with."""

    max_seq_length: Annotated[int | None, flag()] = None
    """Maximum tokens of a window, special tokens included."""
    doc_stride: Annotated[int | None, flag()] = None
    """Overlap of neighbouring windows of one context, in tokens."""
    max_answer_length: Annotated[int | None, flag()] = None
    """Longest answer predicted, in tokens."""
    n_best_size: Annotated[int | None, flag()] = None
    """Candidate starts and ends taken from a window, and answers kept for a question."""
    null_score_diff_threshold: Annotated[float | None, flag()] = None
    """v2.0: predict "no answer" where null score minus best answer's score is above this."""
    version_2_with_negative: Annotated[bool | None, flag()] = None
    """Whether "no answer" is an answer."""


@dataclass(frozen=True)
class AnswerFlags(ReaderFlags):
    """Reader settings instead of those that the model was trained with."""

    min_probability: Annotated[float | None, flag()] = None
    """Answers that are less probable become "no answer"."""


@dataclass(frozen=True)
class EvaluationDevice(DeviceConfig):
    """Where and in which arithmetic a trained model computes."""

    eval_batch_size: Annotated[int, flag("batch-size", "per-device-eval-batch-size")] = DeviceConfig.eval_batch_size
    """Maximum-length windows of one forward pass; changes speed and memory, not results."""
    backend: Backend = "auto"
    """What computes: `torch`, or `onnx` for a model of `albertqa export`; auto: as the folder's files say."""

    def options(self) -> dict[str, Any]:
        """Return what a model is loaded with."""
        return {name: value for name, value in vars(self).items() if name != "eval_batch_size"}
