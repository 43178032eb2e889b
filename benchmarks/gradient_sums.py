"""What does it cost that the gradients of shared weights are added up in bf16, where fp32 would round less?

    python -m benchmarks.gradient_sums [--steps 600] [--seeds 1 2 3]

In bf16 the encoder casts its weights once a step, so the twelve gradients of ALBERT's shared layer are added up in bf16
and the sum becomes fp32. Cast at every use, each of them becomes fp32 first. Two figures:

gradient  albert-base's shape, random weights, a step of 16 real windows: how far the gradients of both ways are from
          those of fp32, relative to their norm.
learning  an ALBERT of six layers with one group (the starter encoder's first layer, used six times) trained on the
          starter set: mean loss of the last quarter of the steps, and f1 on its evaluation questions, both ways, for
          each seed.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from albertqa.data.reading import load_examples
from albertqa.model.encoder import Layer
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import SpanModel, has_fast_bf16, load_model
from albertqa.model.span_loss import span_losses
from albertqa.model.starter_model import starter_encoder
from albertqa.scoring.evaluation import evaluate
from albertqa.windows.batches import pack
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import load_tokenizer
from benchmarks.data import real_questions
from benchmarks.models import save_random, stepper_of, windows_of_step
from benchmarks.provenance import command_line, spread, write_result

_CPU = torch.device("cpu")
_BATCH, _LEARNING_RATE = 8, 2e-4


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("--steps", type=int, default=600, metavar="N", help="steps of a training (600)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="SEED", help="(1 2 3)")
    parser.add_argument("--shape", default="base", help="shape of the model whose gradients are compared (base)")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    gradient = gradient_errors(options.shape)
    print(f"distance from fp32's gradients: {gradient}", flush=True)
    ways = ("added in bf16", "added in fp32")
    losses: dict[str, list[float]] = {name: [] for name in ways}
    f1: dict[str, list[float]] = {name: [] for name in ways}
    for seed in options.seeds:
        for name in ways:
            loss, score = learned(options.steps, seed, casts_at_every_use=name == "added in fp32")
            losses[name].append(loss)
            f1[name].append(score)
            print(f"seed {seed}, {name}: loss {loss:.3f}, f1 {score:.2f}", flush=True)
    result = {
        "n": options.steps,
        "bf16": "in hardware" if has_fast_bf16(_CPU) else "emulated",
        "gradient": gradient,
        "learning": {
            "seeds": options.seeds,
            "loss": losses,
            "f1": f1,
            "difference": spread([one - other for one, other in zip(*losses.values(), strict=True)]),
            "difference_of_f1": spread([one - other for one, other in zip(*f1.values(), strict=True)]),
        },
    }
    write_result("gradient-sums", result, options.output)


def gradient_errors(shape: str) -> dict[str, float]:
    """Return how far the gradients of both ways are from those of fp32."""
    questions = real_questions(200)
    store = questions.windows()
    with tempfile.TemporaryDirectory() as folder:
        save_random(shape, folder, vocab_size=questions.tokenizer.vocab_size)
        exact = _gradients(load_model(folder, device=_CPU), store)
        model = load_model(folder, device=_CPU, precision=torch.bfloat16)
        once = _gradients(model, store)
        with casting_at_every_use():
            each = _gradients(model, store)
    norm = exact.norm()
    return {
        name: round(float((found - exact).norm() / norm), 5)
        for name, found in (("added in bf16", once), ("added in fp32", each))
    }


def _gradients(model: SpanModel, store: WindowStore) -> torch.Tensor:
    batch = pack(store, windows_of_step(len(store), 0, 16))
    model.model.zero_grad()
    model.model.train()
    span_losses(*model.logits(batch), batch).mean().backward()
    found = [one.grad for name, one in model.model.named_parameters() if name.startswith("layers.")]
    return torch.cat([one.flatten().clone() for one in found if one is not None])


@contextmanager
def casting_at_every_use() -> Iterator[None]:
    """Let layers cast their weights whenever they are applied."""
    forward = Layer.forward

    def casting(layer: Layer, x: torch.Tensor, attend: Any, _: Any, *others: Any) -> torch.Tensor:
        return forward(layer, x, attend, layer.weights(torch.bfloat16, rows=None), *others)

    Layer.forward = casting  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Layer.forward = forward  # type: ignore[method-assign]


def learned(num_steps: int, seed: int, *, casts_at_every_use: bool) -> tuple[float, float]:
    """Train; return the mean loss of the last quarter of the steps, and f1 in percent."""
    encoder = starter_encoder()
    store = windows_in_memory(
        load_examples("starter:train"), load_tokenizer(encoder), max_seq_length=256, doc_stride=96
    )
    order = torch.randperm(len(store), generator=torch.Generator().manual_seed(seed)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        load_model(encoder, device=_CPU).save(Path(folder))
        keep_first_group(Path(folder))
        model = load_model(folder, device=_CPU, precision=torch.bfloat16)
        stepper = stepper_of(model, _BATCH)
        losses = []
        for step in range(num_steps):
            windows = [store[order[at % len(order)]] for at in range(step * _BATCH, (step + 1) * _BATCH)]
            rate = _LEARNING_RATE * min(1.0, 10 * (step + 1) / num_steps)
            with casting_at_every_use() if casts_at_every_use else nullcontext():
                losses.append(stepper.step(windows, step + 1, rate).loss)
        shutil.copytree(encoder, folder, dirs_exist_ok=True)  # its tokenizer; the model is written over
        model.save(Path(folder))
        scores = evaluate(folder, "starter:validation", max_seq_length=256, doc_stride=96).scores
    return round(mean(losses[-max(1, num_steps // 4) :]), 4), round(float(scores["f1"]), 3)


def keep_first_group(folder: Path) -> None:
    """Use the first group of an ALBERT's layers for all of them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_groups": 1}), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    group = ".albert_layer_groups."
    kept = {name: value for name, value in weights.items() if group not in name or f"{group}0." in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
