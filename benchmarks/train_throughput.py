"""How much faster is a training step than Transformers' own, on the same windows, in the same process?

    python benchmarks/train_throughput.py [--rounds 5]

albert-base's shape with random weights, batch 16, real window lengths (SQuAD dev v1.1 where ALBERTQA_DATA has it, else
the starter set). Rounds alternate: A, B, ours, on the same windows; ratios are formed round by round.

A: run_qa's defaults: fp32, every window padded to 384, `gelu_new` as Transformers computes it.
B: run_qa's best flags: padded to the longest of the step, windows grouped by length, bf16 where the processor has it in
   hardware (else fp32, and the result says so).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AlbertConfig, AlbertForQuestionAnswering

from albertqa.data.read import load_examples
from albertqa.model.load import choose_precision, load_model
from albertqa.model.memory import keep_freed_memory
from albertqa.model.packed import span_losses
from albertqa.training.optimizer import build_optimizer
from albertqa.windows.batches import pack
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import load_tokenizer
from birth import write_result

BATCH, MAX_LENGTH = 16, 384
Step = Callable[[Any], None]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    store, source = _windows()
    device = torch.device("cpu")
    bf16 = choose_precision("auto", device)
    with tempfile.TemporaryDirectory() as folder:
        _albert_base().save_pretrained(folder)
        plain = AlbertForQuestionAnswering.from_pretrained(folder)
        fp32 = load_model(folder, device=device, precision=None)
        fast = load_model(folder, device=device, precision=bf16)

    def ours(model: Any) -> Step:
        optimizer = build_optimizer(model.model, learning_rate=3e-5)
        model.model.train()

        def step(indices: Any) -> None:
            batch = pack(store, indices)
            loss = span_losses(*model.logits(batch), batch).mean()
            _update(loss, model.model, optimizer)

        return step

    def theirs(pad_to: int | None, dtype: torch.dtype | None) -> Step:
        optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-5, fused=True)
        plain.train()

        def step(indices: Any) -> None:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                loss = plain(**_padded(store, indices, pad_to)).loss
            _update(loss, plain, optimizer)

        return step

    ways = {"A": theirs(MAX_LENGTH, None), "B": theirs(None, bf16), "ours_fp32": ours(fp32)}
    if bf16 is not None:
        ways["ours"] = ours(fast)
    rng = np.random.default_rng(0)
    # Grouped by length as Transformers' sampler does it: megabatches of 50 steps, sorted; one step is drawn.
    samples = [rng.permutation(len(store))[: 50 * BATCH] for _ in range(rounds + 1)]
    rows = []
    for number, sample in enumerate(samples):
        random_step = sample[:BATCH]
        by_length = sample[np.argsort(-store.lengths[sample], kind="stable")].reshape(-1, BATCH)
        grouped = by_length[rng.integers(len(by_length))]
        row = {}
        for name, step in ways.items():
            indices = grouped if name == "B" else random_step
            begun = time.perf_counter()
            step(indices)
            row[name] = float(store.lengths[indices].sum()) / (time.perf_counter() - begun)
        if number:  # the first round warms up
            rows.append(row)
            print("  ".join(f"{name} {value:,.0f} tokens/s" for name, value in row.items()), flush=True)
    best = "ours" if bf16 is not None else "ours_fp32"
    peak = _gemm_peak(bf16 or torch.float32)
    # Six operations a weight and token: two forward, four backward; and the attention products.
    config = fp32.model.config
    mean_length = float(store.lengths.mean())
    per_token = (
        6 * config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    )
    per_token += 12 * config.num_hidden_layers * config.hidden_size * mean_length
    rate = statistics.median(row[best] for row in rows)
    write_result(
        "train-throughput",
        {
            "n": rounds,
            "windows": source,
            "mean_real_tokens": round(mean_length, 1),
            "precision_of_B_and_ours": str(bf16 or torch.float32),
            "threads": torch.get_num_threads(),
            "real_tokens_per_second": {name: _spread([row[name] for row in rows]) for name in ways},
            "ratios": {
                f"{best} / A": _spread([row[best] / row["A"] for row in rows]),
                f"{best} / B": _spread([row[best] / row["B"] for row in rows]),
                "ours_fp32 / A": _spread([row["ours_fp32"] / row["A"] for row in rows]),
            },
            "gemm_peak_gflops": round(peak / 1e9, 1),
            "share_of_gemm_peak": round(rate * per_token / peak, 3),
        },
    )


def _update(loss: torch.Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _albert_base() -> AlbertForQuestionAnswering:
    """Build albert-base-v2's shape with random weights: speed does not depend on their values."""
    config = AlbertConfig(
        embedding_size=128,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu_new",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    return AlbertForQuestionAnswering(config)


def _windows() -> tuple[WindowStore, str]:
    data = Path(os.environ.get("ALBERTQA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if (data / "squad" / "dev-v1.1.json").is_file():
        examples = load_examples(data / "squad" / "dev-v1.1.json")
        return build_windows(examples, load_tokenizer(data / "albert" / "spiece.model")), "SQuAD dev v1.1"
    from albertqa.model.starter import starter_encoder

    return build_windows(load_examples("starter:train"), load_tokenizer(starter_encoder())), "starter set"


def _padded(store: WindowStore, indices: Any, pad_to: int | None) -> dict[str, torch.Tensor]:
    windows = [store[int(index)] for index in indices]
    length = pad_to or max(len(window.input_ids) for window in windows)
    rows = {
        name: torch.zeros(len(windows), length, dtype=torch.long)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    for row, window in enumerate(windows):
        size = len(window.input_ids)
        rows["input_ids"][row, :size] = torch.from_numpy(window.input_ids)
        rows["token_type_ids"][row, :size] = torch.from_numpy(window.token_type_ids)
        rows["attention_mask"][row, :size] = 1
    rows["start_positions"] = torch.tensor([window.start_position for window in windows])
    rows["end_positions"] = torch.tensor([window.end_position for window in windows])
    return rows


def _gemm_peak(dtype: torch.dtype) -> float:
    """Measure the fastest matrix product of the feed-forward block's kind, operations a second."""
    best = 0.0
    for size in (2048, 4096):
        left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
        for _ in range(4):
            begun = time.perf_counter()
            left @ right
            best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


if __name__ == "__main__":
    main()
