"""Evaluate a saved model on a data set, in one call."""

from collections.abc import Sequence
from pathlib import Path

from albertqa.config import Settings, check_settings
from albertqa.data.example import has_unanswerable
from albertqa.data.reading import load_several
from albertqa.decode.reader import load_reader
from albertqa.scoring.evaluate import Evaluation, evaluate_windows
from albertqa.windows.build import build_windows


def evaluate(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    version_2: bool | None = None,
    limit: int | None = None,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    max_answer_length: int = 30,
    n_best_size: int = 20,
    null_score_diff_threshold: float = 0.0,
    batch_size: int = 32,
    device: str = "auto",
    mixed_precision: str = "auto",
) -> Evaluation:
    """Give loss, exact, f1 and predictions of a trained model.

    Args:
        model: Run directory (its ``best/``), Transformers folder, or Hub name.
        data: Data file or Hub name with golds, or several, as one.
        version_2: Whether questions may have no answer; None: as the data says.
        limit: Evaluate only the first so many questions in all.
        max_seq_length: Most tokens of a window.
        doc_stride: Overlap of neighbouring windows, tokens.
        max_answer_length: Longest answer, tokens.
        n_best_size: See `decode`.
        null_score_diff_threshold: v2.0: predict "" where the null score beats the best answer's by more than this.
        batch_size: Windows of the longest kind in one forward.
        device: See `choose_device`.
        mixed_precision: See `choose_precision`.

    Returns:
        Scores, loss, predictions.

    Raises:
        AlbertQAError: Something the user can act on.
    """
    check_settings(
        Settings(
            max_seq_length=max_seq_length,
            doc_stride=doc_stride,
            max_answer_length=max_answer_length,
            n_best_size=n_best_size,
            max_eval_examples=limit,
            eval_batch_size=batch_size,
        )
    )
    reader = load_reader(model, max_seq_length=max_seq_length, device=device, mixed_precision=mixed_precision)
    examples = load_several([data] if isinstance(data, str | Path) else data, limit=limit)
    store = build_windows(examples, reader.tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
    return evaluate_windows(
        reader.model,
        store,
        examples,
        version_2=has_unanswerable(examples) if version_2 is None else version_2,
        batch_size=batch_size,
        n_best_size=n_best_size,
        max_answer_length=max_answer_length,
        null_score_diff_threshold=null_score_diff_threshold,
    )
