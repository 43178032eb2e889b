"""Do time and memory grow in proportion to the data and to the contexts' length?

    python -m benchmarks.scaling [--sizes 1000 10000 100000] [--contexts 1 2 4 8] [--rounds 2]

Questions: SQuAD's dev v1.1 if ALBERTQA_DATA has it, else the starter set; beyond its size, copies with other ids and
contexts. At every size: build the windows (without a cache), open them again, pack an epoch into batches of 16, and
decode random logits of all windows. Contexts: 64 questions on contexts of 512 tokens and multiples of it, made of real
paragraphs; build their windows of 384 tokens, and run one question's through albert-base's shape with random weights.

Every measurement is a new process; memory is its peak in the stage minus its memory before. The exponent is the slope
of log(cost) over log(size): 1 is in proportion, less than 1 a fixed cost that is spread over more data. It is fitted
round by round.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from albertqa.data.example import Example
from albertqa.decode.spans import decode
from albertqa.windows.batches import epoch_order, pack
from albertqa.windows.build import build_windows, windows_in_memory
from benchmarks.data import Questions, copies, drawn_logits, real_questions
from benchmarks.processes import in_fresh_process, peak_bytes, reset_peak, resident_bytes
from benchmarks.provenance import command_line, spread, write_result

_BATCH = 16
_UNIT_TOKENS = 512
_LONG_QUESTIONS = 64
_MIB = 2**20
# Costs below a millisecond or a MiB are those of the clock or the allocator.
_LEAST = {"seconds": 1e-3, "mib": 1.0}

Stages = dict[str, dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], metavar="N", help="questions")
    parser.add_argument("--contexts", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N", help="times 512 tokens")
    parser.add_argument("--shape", default="base", help="the model's shape (base)")
    options = parser.parse_args(arguments)
    source = real_questions(1).source
    by_windows, by_context = [], []
    with tempfile.TemporaryDirectory() as folder:
        in_fresh_process(_save_model, options.shape, folder)
        for number in range(options.rounds):
            by_windows.append([in_fresh_process(measure_size, size) for size in options.sizes])
            by_context.append([in_fresh_process(measure_context, times, folder) for times in options.contexts])
            print(f"round {number + 1} of {options.rounds} done", flush=True)
    write_result(
        "scaling",
        {
            "n": options.rounds,
            "windows": source,
            "against_windows": _summary("windows", by_windows),
            "against_context_tokens": _summary("context_tokens", by_context),
        },
        options.output,
    )


def measure_size(num_questions: int) -> tuple[int, Stages]:
    """Measure all stages that handle every window, at one size.

    Args:
        num_questions: The size.

    Returns:
        The number of windows, and seconds and MiB of each stage.
    """
    questions = real_questions()
    examples = copies(questions.examples, num_questions)
    # The first batch imports PyTorch, which must not count.
    store = windows_in_memory(examples[:1], questions.tokenizer)
    pack(store, [0])
    stages: Stages = {}
    with tempfile.TemporaryDirectory() as cache:

        def build() -> Any:
            return build_windows(examples, questions.tokenizer, cache=Path(cache))

        _, stages["build"] = _measured(build)
        store, stages["open"] = _measured(build)

        def pack_epoch() -> None:
            order = epoch_order(len(store), seed=0, epoch=0)
            for first in range(0, len(order), _BATCH):
                pack(store, order[first : first + _BATCH])

        _, stages["pack"] = _measured(pack_epoch)
        logits = drawn_logits(store)
        _, stages["decode"] = _measured(lambda: decode(logits, store, examples))
    return len(store), stages


def measure_context(times: int, folder: str) -> tuple[int, Stages]:
    """Measure building and running windows at one length of the contexts.

    Args:
        times: Length in units of 512 tokens.
        folder: The model.

    Returns:
        Tokens of a context, and seconds and MiB of each stage.
    """
    import torch

    from albertqa.decode.predict import run_windows
    from albertqa.model.load import load_model

    questions = real_questions()
    examples = long_examples(questions, times * _UNIT_TOKENS, _LONG_QUESTIONS)
    model = load_model(folder, device=torch.device("cpu"))
    warm = windows_in_memory(questions.examples[:1], questions.tokenizer)
    run_windows(model, warm)
    stages: Stages = {}
    _, stages["build"] = _measured(lambda: windows_in_memory(examples, questions.tokenizer))
    one = windows_in_memory(examples[:1], questions.tokenizer)
    _, stages["read"] = _measured(lambda: run_windows(model, one))
    return times * _UNIT_TOKENS, stages


def long_examples(questions: Questions, num_tokens: int, count: int) -> list[Example]:
    """Make questions on contexts of so many tokens, each from different real paragraphs.

    Args:
        questions: The source of questions and paragraphs.
        num_tokens: Tokens of a context.
        count: Number of questions.

    Returns:
        Questions without a gold.
    """
    contexts = list(dict.fromkeys(example.context for example in questions.examples))
    tokens = [len(encoding.ids) for encoding in questions.tokenizer.encode_batch(contexts)]
    found = []
    for number in range(count):
        paragraphs, total = [], 0
        # A little more than enough: tokens may merge where paragraphs meet.
        for at in itertools.count(number):
            paragraphs.append(contexts[at % len(contexts)])
            total += tokens[at % len(contexts)]
            if total >= num_tokens + len(paragraphs):
                break
        text = " ".join(paragraphs)
        offsets = questions.tokenizer.encode_batch([text])[0].offsets
        question = questions.examples[number % len(questions.examples)].question
        found.append(Example(f"long-{number}", question, text[: offsets[num_tokens - 1][1]]))
    return found


def _save_model(shape: str, folder: str) -> None:
    from benchmarks.models import save_random

    save_random(shape, folder, vocab_size=real_questions(1).tokenizer.vocab_size)


def _measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    reset_peak()
    before = resident_bytes()
    begun = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - begun
    return found, {"seconds": seconds, "mib": (peak_bytes() - before) / _MIB}


def _summary(axis: str, rounds: list[list[tuple[int, Stages]]]) -> dict[str, Any]:
    """Summarise the rounds by stage: the measurements at each size, and the exponents."""
    sizes = [size for size, _ in rounds[0]]
    summary = {}
    for stage in rounds[0][0][1]:
        costs = {name: [[stages[stage][name] for _, stages in one] for one in rounds] for name in ("seconds", "mib")}
        summary[stage] = {
            "points": [
                {axis: size, **{name: spread([one[at] for one in cost]) for name, cost in costs.items()}}
                for at, size in enumerate(sizes)
            ],
            **{f"{name}_exponent": _exponents(sizes, cost, _LEAST[name]) for name, cost in costs.items()},
        }
    return summary


def _exponents(sizes: list[int], rounds: list[list[float]], least: float) -> dict[str, float] | None:
    """Fit log(cost) over log(size) round by round; None if a cost is too small."""
    if len(sizes) < 2 or min(min(one) for one in rounds) < least:
        return None
    return spread([float(np.polyfit(np.log(sizes), np.log(one), 1)[0]) for one in rounds])


if __name__ == "__main__":
    main()
