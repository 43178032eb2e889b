"""How many windows a second does an evaluation read, against Transformers' padded forward in fp32?

    python -m benchmarks.evaluate [--rounds 5] [--device cuda]

albert-base's shape with random weights. In every round both read the same real windows, one after the other:
Transformers in ready-made batches of 32 padded to 384 in fp32, in a process of its own (see `baseline`), ours as
`albertqa evaluate` runs them, and in fp32. Both move the logits to the CPU; ours computes the loss as well. Ratios are
computed round by round. Transformers_kept is Transformers in our process, where freed memory is kept.
"""

import tempfile
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from albertqa.decode.predict import run_windows
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import choose_device, choose_precision, load_model
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from benchmarks.baseline import Baseline
from benchmarks.data import real_questions
from benchmarks.models import MAX_LENGTH, SHAPES, padded, save_random, seconds_of
from benchmarks.processes import OwnProcess
from benchmarks.provenance import command_line, spread, write_result

_BATCH = 32
_CLOSE = 1e-3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=5, device=True)
    parser.add_argument("--questions", type=int, metavar="N", help="questions of a round (cpu: 24, cuda: 2000)")
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    num_questions: int = options.questions or (24 if device.type == "cpu" else 2000)
    questions = real_questions()
    bf16 = choose_precision("auto", device)
    with tempfile.TemporaryDirectory() as folder, OwnProcess(Baseline, folder, device) as own:
        save_random(options.shape, folder, vocab_size=questions.tokenizer.vocab_size)
        kept = Baseline(folder, device)
        models = {"ours_fp32": load_model(folder, device=device, precision=None)}
        if bf16 is not None:
            models["ours"] = load_model(folder, device=device, precision=bf16)
        # Drawn from the whole set, as contexts are longer in some articles than in others.
        drawn = np.random.default_rng(0).permutation(len(questions.examples))
        rows, num_windows, lengths = [], [], []
        for number in range(options.rounds + 1):
            at = np.take(drawn, range(number * num_questions, (number + 1) * num_questions), mode="wrap")
            store = windows_in_memory([questions.examples[one] for one in at], questions.tokenizer)
            batches = [
                padded(store, range(first, min(first + _BATCH, len(store))), MAX_LENGTH)
                for first in range(0, len(store), _BATCH)
            ]
            taken, theirs = own.call("evaluate", batches)
            seconds = {"Transformers": taken}
            for name, model in models.items():
                seconds[name] = seconds_of(partial(run_windows, model, store), device)
            seconds["Transformers_kept"], _ = kept.evaluate(batches)
            if not number:  # the first round is the warm-up, and checks that both compute the same
                _require_equal(run_windows(models["ours_fp32"], store).logits.start, theirs, store)
                continue
            rows.append({name: len(store) / value for name, value in seconds.items()})
            num_windows.append(len(store))
            lengths.append(float(store.lengths.mean()))
            print("  ".join(f"{name} {value:,.1f} windows/s" for name, value in rows[-1].items()), flush=True)
    write_result(
        "evaluate",
        {
            "n": options.rounds,
            "shape": options.shape,
            "windows": questions.source,
            "windows_of_a_round": spread(num_windows),
            "mean_real_tokens": spread(lengths),
            "precision_of_ours": str(bf16 or torch.float32),
            "threads": torch.get_num_threads(),
            "windows_per_second": {name: spread([row[name] for row in rows]) for name in rows[0]},
            "ratios": {
                f"{name} / {other}": spread([row[name] / row[other] for row in rows])
                for name in models
                for other in ("Transformers", "Transformers_kept")
            },
        },
        options.output,
        device,
    )


def _require_equal(ours: NDArray[np.float32], theirs: list[NDArray[np.float32]], store: WindowStore) -> None:
    """Stop if the two do not compute the same."""
    kept = [row[:length] for row, length in zip(theirs, store.lengths.tolist(), strict=True)]
    furthest = float(np.abs(ours - np.concatenate(kept)).max())
    if furthest > _CLOSE:
        raise SystemExit(f"evaluate.py: logits differ by {furthest:.3g}, expected at most {_CLOSE:g}; nothing written")


if __name__ == "__main__":
    main()
