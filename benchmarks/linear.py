"""What packed weights bring to products in bf16, and oneDNN's GELU beside PyTorch's.

    python -m benchmarks.linear [--rounds 15]

The four linear layers of albert-base, forward and gradient of the input, by the rows of a question, of four and of a
step: with weights as they are, and packed for so many rows, by turns. Then the activation of so many rows. Ratios are
computed round by round. `model/linear.py` does what this shows to be faster; a processor that does not multiply bf16
writes nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from albertqa.model.encoder_config import TANH_GELU
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.linear import TanhGelu, Weights, is_fused, linear, weights_of
from benchmarks.models import SHAPES, refuse, seconds_of
from benchmarks.provenance import command_line, spread, write_result

ROWS = (208, 1024, 3104)
_CPU = torch.device("cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=15)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    if not is_fused(torch.zeros(1, dtype=torch.bfloat16)):
        refuse("this processor does not multiply bf16")
    hidden, inner = SHAPES["base"]["hidden_size"], SHAPES["base"]["intermediate_size"]
    layers = {
        "qkv": nn.Linear(hidden, 3 * hidden),
        "attention_output": nn.Linear(hidden, hidden),
        "feed_forward": nn.Linear(hidden, inner),
        "feed_forward_output": nn.Linear(inner, hidden),
    }
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for rows in ROWS:
        ways = {name: _ways_of_products(layer, rows) for name, layer in layers.items()}
        ways["activation"] = _ways_of_gelu(rows, inner)
        found[str(rows)] = {name: _measure(of_one, options.rounds) for name, of_one in ways.items()}
        for name, row in found[str(rows)].items():
            medians = {one: values["median"] for one, values in row.items() if "over" in one}
            print(f"{rows} rows, {name}: {medians}", flush=True)
    write_result("linear", {"n": options.rounds, "threads": torch.get_num_threads(), **found}, options.output)


def _ways_of_products(layer: nn.Linear, rows: int) -> dict[str, Callable[[], object]]:
    """Return what is timed of a layer."""
    x, gradient = (torch.randn(rows, size).bfloat16() for size in (layer.in_features, layer.out_features))
    plain, packed = weights_of(layer, torch.bfloat16), weights_of(layer, torch.bfloat16, rows=rows)
    transpose = Weights(plain.weight, None, packed.packed_transpose)
    without_gradients = torch.no_grad()
    return {
        "forward_plain": partial(without_gradients(linear), x, plain),
        "forward_packed": partial(without_gradients(linear), x, packed),
        # As `FusedLinear` computes it; the weight's is the same product either way.
        "gradient_plain": partial(torch.matmul, gradient, plain.weight.detach()),
        "gradient_packed": partial(without_gradients(linear), gradient, transpose),
        "packing": partial(weights_of, layer, torch.bfloat16, rows=rows),
    }


def _ways_of_gelu(rows: int, features: int) -> dict[str, Callable[[], object]]:
    x = torch.randn(rows, features).bfloat16()
    return {"forward_plain": partial(TANH_GELU.apply, x), "forward_packed": partial(TanhGelu.apply, x)}


def _measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of each way, and their ratios."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            seconds = seconds_of(work, _CPU)
            if number:  # the first round is the warm-up
                times[name].append(1e3 * seconds)
    ratios = {
        f"{part}_packed_over_plain": [
            packed / plain for packed, plain in zip(times[f"{part}_packed"], times[f"{part}_plain"], strict=True)
        ]
        for part in ("forward", "gradient")
        if f"{part}_packed" in times
    }
    return {name: spread(values) for name, values in {**times, **ratios}.items()}


if __name__ == "__main__":
    main()
