"""Which GPU a run takes."""

import pytest
import torch

from albertqa.config import Settings
from albertqa.run import setup


@pytest.mark.parametrize(
    ("name", "local_rank", "device", "current"),
    [
        ("cuda", None, "cuda", None),
        ("cuda:1", None, "cuda:1", 1),
        ("cuda", "3", "cuda:3", 3),
        ("cuda:1", "3", "cuda:1", 1),
    ],
)
def test_the_gpu_that_a_run_takes_becomes_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str, local_rank: str | None, device: str, current: int | None
) -> None:
    taken: list[int] = []
    # There is no GPU here: the choice is planted, and PyTorch's own function called up to where it asks the driver.
    monkeypatch.setattr(setup, "choose_device", torch.device)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", taken.append, raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert setup.set_up_device(Settings(device=name)) == torch.device(device)
    assert taken == ([] if current is None else [current])
