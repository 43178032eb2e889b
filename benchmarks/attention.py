"""Is PyTorch's fused attention faster on this processor, or are plain products?

    python -m benchmarks.attention [--rounds 30]

One window of albert-base's heads, in fp32 and bf16, by the window's length: a forward of each kind and, from its end, a
backward of each kind, by turns. Plain products are `attend_by_products` and `PlainBackward`; ratios are computed round
by round. `model/attention.py` chooses by what this measures.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from albertqa.model.attention import PlainBackward, attend_by_products, attend_fused
from albertqa.model.freed_memory import keep_freed_memory
from benchmarks.models import SHAPES, seconds_of
from benchmarks.provenance import command_line, spread, write_result

LENGTHS = (64, 128, 197, 384)
# Windows that are timed together, as one takes less than a clock tells well.
_WINDOWS = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=30)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    found = {
        str(dtype).removeprefix("torch."): {str(length): _measure(length, dtype, options.rounds) for length in LENGTHS}
        for dtype in (torch.float32, torch.bfloat16)
    }
    for dtype, of_lengths in found.items():
        for length, row in of_lengths.items():
            shares = {name: row[f"{name}_plain_over_fused"]["median"] for name in ("forward", "backward")}
            print(f"{dtype}, {length} tokens: plain products take {shares} of fused attention's time", flush=True)
    write_result("attention", {"n": options.rounds, "threads": torch.get_num_threads(), **found}, options.output)


def _measure(length: int, dtype: torch.dtype, rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of a window, and the ratios of plain products to fused attention."""
    heads = SHAPES["base"]["num_attention_heads"]
    size = SHAPES["base"]["hidden_size"] // heads
    generator = torch.Generator().manual_seed(0)
    shape = (length, 3, heads, size)
    windows = [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in range(_WINDOWS)]
    direction = torch.randn(length, heads, size, generator=generator).to(dtype)
    cpu = torch.device("cpu")
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, work in _ways(windows, direction).items():
            seconds = seconds_of(work, cpu) / _WINDOWS
            if number:  # the first round is the warm-up
                times.setdefault(name, []).append(1e3 * seconds)
    ratios = {
        f"{part}_plain_over_fused": [
            plain / fused for plain, fused in zip(times[f"{part}_plain"], times[f"{part}_fused"], strict=True)
        ]
        for part in ("forward", "backward")
    }
    return {name: spread(values) for name, values in {**times, **ratios}.items()}


def _ways(windows: list[torch.Tensor], direction: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return what is timed; the forwards that the backwards start from are done before."""
    lengths = [len(direction)]
    fused = [attend_fused(window) for window in windows]
    plain = [PlainBackward.apply(window, lengths, [None]) for window in windows]  # type: ignore[no-untyped-call]

    def forward(attend: Callable[[torch.Tensor], torch.Tensor]) -> None:
        with torch.no_grad():
            for window in windows:
                attend(window)

    def backward(ends: list[torch.Tensor]) -> None:
        for end, window in zip(ends, windows, strict=True):
            torch.autograd.grad(end, window, direction)

    return {
        "forward_fused": partial(forward, attend_fused),
        "forward_plain": partial(forward, attend_by_products),
        "backward_fused": partial(backward, fused),
        "backward_plain": partial(backward, plain),
    }


if __name__ == "__main__":
    main()
