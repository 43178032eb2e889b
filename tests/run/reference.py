"""The plain loop that `train_steps` must equal; `benchmarks.learning` compares with it, too."""

from benchmarks.plain_loop import Course, Trained, train_plainly

__all__ = ["Course", "Trained", "train_plainly"]
