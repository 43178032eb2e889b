"""Fine-tune ALBERT on SQuAD or on your own questions, know at every step how it goes, and use what you trained.

    import albertqa

    result = albertqa.train(albertqa.Settings(model="starter", train_file="starter:train", ...))
    answer = albertqa.Answerer("runs/…").answer("Who …?", "The context …")

Names are imported when they are first used, so that `import albertqa` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from albertqa.answer.answerer import Answer, Answerer
    from albertqa.config import Settings
    from albertqa.data.example import Example, Gold
    from albertqa.data.reading import load_examples
    from albertqa.decode.spans import Candidate, Prediction
    from albertqa.errors import AlbertQAError
    from albertqa.evaluation import evaluate
    from albertqa.health.range_curve import RangeTest
    from albertqa.learning_rate import find_lr
    from albertqa.recipe import RunResult, train
    from albertqa.scoring.evaluate import Evaluation
    from albertqa.scoring.official import score
    from albertqa.windows.build import build_windows
    from albertqa.windows.store import Window, WindowStore
    from albertqa.windows.tokenizer import load_tokenizer

_PLACES = {
    "AlbertQAError": "errors",
    "Answer": "answer.answerer",
    "Answerer": "answer.answerer",
    "Candidate": "decode.spans",
    "Evaluation": "scoring.evaluate",
    "Example": "data.example",
    "Gold": "data.example",
    "Prediction": "decode.spans",
    "RangeTest": "health.range_curve",
    "RunResult": "recipe",
    "Settings": "config",
    "Window": "windows.store",
    "WindowStore": "windows.store",
    "build_windows": "windows.build",
    "evaluate": "evaluation",
    "find_lr": "learning_rate",
    "load_examples": "data.reading",
    "load_tokenizer": "windows.tokenizer",
    "score": "scoring.official",
    "train": "recipe",
}

__all__ = [
    "AlbertQAError",
    "Answer",
    "Answerer",
    "Candidate",
    "Evaluation",
    "Example",
    "Gold",
    "Prediction",
    "RangeTest",
    "RunResult",
    "Settings",
    "Window",
    "WindowStore",
    "build_windows",
    "evaluate",
    "find_lr",
    "load_examples",
    "load_tokenizer",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'albertqa' has no attribute '{name}'")
    return getattr(import_module(f"albertqa.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
