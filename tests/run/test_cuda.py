"""On a real GPU, fifty steps in fp32 and in bf16, beside a plain loop on the CPU.

In fp32 the losses are those of the plain loop but for the order of additions, which fifty steps of Adam carry on: 1e-3,
relative. In bf16 a single loss says little; the mean of the last ten is compared.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from albertqa.model.load import SpanModel, load_model
from albertqa.run.objective import Objective, span_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.windows.batches import PackedBatch
from albertqa.windows.store import WindowStore

from .cases import Listener, config_of, go_on
from .reference import Course, train_plainly

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
COURSE = Course(max_grad_norm=2.5, micro_batch=4, accumulation=2, warmup_steps=8, weight_decay=0.1)


def losses_on_gpu(
    folder: Path, store: WindowStore, precision: torch.dtype | None, objective: Objective = span_objective
) -> list[float]:
    model = load_model(folder, device=torch.device("cuda"), precision=precision)
    listener = Listener()
    go_on(model, build_optimizer(model.model, config_of(COURSE)), store, COURSE, listener, objective=objective)
    assert listener.said == []
    return [row["train_loss"] for row in listener.rows]


def test_fifty_steps_in_fp32_give_the_losses_of_a_plain_loop_on_the_cpu(tiny_weights: Path, store: WindowStore) -> None:
    losses = losses_on_gpu(tiny_weights, store, None)
    assert len(losses) == 50
    np.testing.assert_allclose(losses, train_plainly(tiny_weights, store, COURSE).losses, rtol=1e-3)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_fifty_steps_in_half_precision_come_as_far_as_a_plain_loop_on_the_cpu(
    tiny_weights: Path, store: WindowStore, precision: torch.dtype
) -> None:
    by_host = 0

    def counted(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        nonlocal by_host
        by_host += 1
        return span_objective(model, batch)

    losses = losses_on_gpu(tiny_weights, store, precision, counted)
    # A step has two passes, the last of an epoch maybe one; in bf16 most of them are replayed.
    assert by_host < 25 if precision is torch.bfloat16 else by_host > 75
    expected = train_plainly(tiny_weights, store, COURSE).losses
    np.testing.assert_allclose(np.mean(losses[-10:]), np.mean(expected[-10:]), rtol=0.05)
