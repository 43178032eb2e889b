"""Small studies, and processes that conduct them."""

import os
from pathlib import Path
from typing import Any

from albertqa.study.conduct import conduct
from albertqa.study.result import StudyResult
from albertqa.study.spec import StudySpec, parse_spec


def content_of(output: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """Return the content of the file of a study of seconds."""
    base = {
        "model": str(model),
        "train_file": ["starter:train"],
        "validation_file": ["starter:validation"],
        "max_train_examples": 16,
        "max_eval_examples": 24,
        "max_seq_length": 96,
        "doc_stride": 32,
        "train_batch_size": 8,
        "epochs": 2.0,
        "save_steps": 2,
        "device": "cpu",
        "mixed_precision": "no",
        "num_threads": 1,
        "fit": False,
    }
    study = {
        "output": str(output),
        "seeds": [1, 2],
        "fresh_seeds": [11, 12],
        "base": base,
        "space": {"learning_rate": [1e-4, 3e-3]},
    }
    return {**study, **changes}


def spec_of(output: Path, model: Path, **changes: Any) -> StudySpec:
    return parse_spec(content_of(output, model, **changes), "study.toml")


def conduct_alone(spec: StudySpec) -> StudyResult | None:
    """Conduct a study as a process's only work."""
    import torch

    os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(1)
    return conduct(spec, say=lambda _: None)
