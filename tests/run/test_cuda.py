"""On a real GPU, fifty steps as the run takes them: replayed, in fp32 and in bf16, beside a plain loop on the CPU.

In fp32 the losses are those of the plain loop but for the order of additions, which fifty steps of Adam carry on: 1e-3,
relative. In bf16 a single loss tells little; their course is compared, by the mean of the last ten.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from albertqa.model.load import load_model
from albertqa.run.checkpoint import TrainState
from albertqa.run.loop import train_steps
from albertqa.run.optimizer import build_optimizer
from albertqa.run.step import Begun, Stepper
from albertqa.windows.store import WindowStore

from .cases import Listener, plan_of
from .reference import Course, train_plainly

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
COURSE = Course(max_grad_norm=2.5, micro_batch=4, accumulation=2, warmup_steps=8, weight_decay=0.1)


def train_on_gpu(
    folder: Path, store: WindowStore, precision: torch.dtype | None, *, may_replay: bool
) -> tuple[list[float], list[str]]:
    device = torch.device("cuda")
    model = load_model(folder, device=device, precision=precision)
    optimizer = build_optimizer(model.model, learning_rate=COURSE.learning_rate, weight_decay=COURSE.weight_decay)
    listener = Listener()
    train_steps(
        model,
        store,
        optimizer,
        plan_of(store, COURSE),
        listener,
        state=TrainState(),
        learning_rate=COURSE.learning_rate,
        schedule="linear",
        micro_batch=COURSE.micro_batch,
        accumulation=COURSE.accumulation,
        max_grad_norm=COURSE.max_grad_norm,
        seed=COURSE.seed,
        may_replay=may_replay,
    )
    return [row["train_loss"] for row in listener.rows], listener.said


@pytest.mark.parametrize("may_replay", [False, True], ids=["plain", "replayed"])
def test_fifty_steps_in_fp32_give_the_losses_of_a_plain_loop_on_the_cpu(
    tiny_weights: Path, store: WindowStore, may_replay: bool
) -> None:
    losses, said = train_on_gpu(tiny_weights, store, None, may_replay=may_replay)
    expected = train_plainly(tiny_weights, store, COURSE)
    assert len(losses) == 50
    assert said == []
    np.testing.assert_allclose(losses, expected.losses, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
def test_no_step_waits_for_the_device(
    tiny_weights: Path, store: WindowStore, precision: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Stepper.begin

    def watched(stepper: Stepper, *args: Any) -> tuple[Begun, TrainState]:
        # By then every kernel has been loaded.
        torch.cuda.set_sync_debug_mode("error" if args[1].step >= 30 else "default")
        try:
            return begin(stepper, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Stepper, "begin", watched)
    losses, said = train_on_gpu(tiny_weights, store, precision, may_replay=False)
    assert (len(losses), said) == (50, [])


@pytest.mark.parametrize("may_replay", [False, True], ids=["plain", "replayed"])
def test_fifty_steps_in_bf16_come_as_far_as_a_plain_loop_on_the_cpu(
    tiny_weights: Path, store: WindowStore, may_replay: bool
) -> None:
    losses, said = train_on_gpu(tiny_weights, store, torch.bfloat16, may_replay=may_replay)
    expected = train_plainly(tiny_weights, store, COURSE)
    assert said == []
    np.testing.assert_allclose(np.mean(losses[-10:]), np.mean(expected.losses[-10:]), rtol=0.05)
