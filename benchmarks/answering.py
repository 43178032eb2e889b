"""How long does an answer take, alone and sixteen at once, and how long until the first one?

    python -m benchmarks.answering [--rounds 20] [--device cuda]

albert-base's shape with random weights, questions whose window has about 197 tokens. In every round all answer the
same questions, one after the other: ours is `Answerer.answer_batch`, from text to text, on contexts that it has not
seen before; Transformers is the forward pass alone, on ready-made batches padded to their longest window, in fp32 and,
if the device has it in hardware, in bf16, in a process of its own (see `baseline`). Ratios are computed round by round.

The start is measured in new processes: the import, and the time and memory from there to the first answer.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from albertqa.answer.answerer import Answerer
from albertqa.data.example import Example
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import choose_device, choose_precision
from albertqa.windows.store import WindowStore
from benchmarks.baseline import Baseline
from benchmarks.data import Questions, real_questions
from benchmarks.models import SHAPES, padded, save_random, seconds_of
from benchmarks.processes import OwnProcess
from benchmarks.provenance import command_line, spread, write_result

TOKENS = 197
AT_ONCE = (1, 16)

# Prints seconds and MiB of a process that imports albertqa and answers one question.
_FIRST_ANSWER = """
import json, sys, time
begun = time.perf_counter()
import albertqa
imported = time.perf_counter()
answerer = albertqa.Answerer(sys.argv[1], device=sys.argv[2])
answerer.answer(sys.argv[3], sys.argv[4])
answered = time.perf_counter()
from benchmarks.processes import peak_bytes
print(json.dumps({
    "import_seconds": imported - begun, "first_answer_seconds": answered - begun, "peak_mib": peak_bytes() / 2**20,
}))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=20, device=True)
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    parser.add_argument("--starts", type=int, default=5, metavar="N", help="new processes (5)")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    questions = real_questions(options.questions)
    bf16 = choose_precision("auto", device)
    chosen, windows = near_questions(questions, options.rounds + 1)
    with tempfile.TemporaryDirectory() as folder, OwnProcess(Baseline, folder, device) as own:
        save_random(options.shape, folder, vocab_size=questions.tokenizer.vocab_size)
        questions.tokenizer.save(Path(folder))
        answerers = {"ours_fp32": Answerer(folder, device=options.device, mixed_precision="no")}
        precisions: dict[str, torch.dtype | None] = {"Transformers_fp32": None}
        if bf16 is not None:
            answerers["ours"] = Answerer(folder, device=options.device)
            precisions["Transformers_bf16"] = bf16
        rows: dict[int, list[dict[str, float]]] = {count: [] for count in AT_ONCE}
        for number in range(options.rounds + 1):
            for count in AT_ONCE:
                at = [(number * count + one) % len(chosen) for one in range(count)]
                pairs = [(chosen[one].question, chosen[one].context) for one in at]
                batch = padded(windows, at, None)
                seconds = {name: own.call("evaluate", [batch], dtype)[0] for name, dtype in precisions.items()}
                for name, answerer in answerers.items():
                    seconds[name] = seconds_of(partial(answerer.answer_batch, pairs), device)
                if number:  # the first round is the warm-up
                    rows[count].append(seconds)
        starts = [_start(folder, options.device, chosen[0]) for _ in range(options.starts)]
    result: dict[str, Any] = {
        "n": options.rounds,
        "shape": options.shape,
        "windows": questions.source,
        "tokens_of_a_question": spread(windows.lengths.tolist()),
        "precision_of_ours": str(bf16 or torch.float32),
        "threads": torch.get_num_threads(),
        "start": {name: spread([start[name] for start in starts]) for name in starts[0]},
    }
    for count, found in rows.items():
        result[f"questions_{count}"] = {
            "milliseconds": {name: _percentiles([1000 * row[name] for row in found]) for name in found[0]},
            "questions_per_second": {name: spread([count / row[name] for row in found]) for name in found[0]},
            "ratios": {
                f"{ours} / {theirs}": spread([row[theirs] / row[ours] for row in found])
                for ours in answerers
                for theirs in precisions
            },
        }
        print(f"{count} at once:", json.dumps(result[f"questions_{count}"]["milliseconds"]), flush=True)
    print("start:", json.dumps(result["start"]))
    write_result("answering", result, options.output, device)


def near_questions(questions: Questions, rounds: int) -> tuple[list[Example], WindowStore]:
    """Return the questions with one window of a length nearest to `TOKENS`, and these windows, for so many rounds."""
    store = questions.windows()
    per_example = np.bincount(store.columns["example_index"], minlength=len(questions.examples))
    single = np.flatnonzero(per_example[store.columns["example_index"]] == 1)
    # Enough that no question comes twice, as far as there are questions.
    nearest = single[np.argsort(np.abs(store.lengths[single] - TOKENS), kind="stable")][: rounds * sum(AT_ONCE)]
    examples = [questions.examples[int(at)] for at in store.columns["example_index"][nearest]]
    return examples, Questions(examples, questions.tokenizer, questions.source).windows()


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{at}": float(f"{np.percentile(values, at):.4g}") for at in (50, 95)}


def _start(folder: str, device: str, example: Example) -> dict[str, float]:
    """Answer a first question in a new process."""
    command = [sys.executable, "-c", _FIRST_ANSWER, folder, device, example.question, example.context]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


if __name__ == "__main__":
    main()
