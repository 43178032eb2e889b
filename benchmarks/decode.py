"""How long do 10,808 windows of logits take to become n-best answers, on one core?

    python -m benchmarks.decode [--rounds 5]

The windows of SQuAD's dev v1.1 if ALBERTQA_DATA has it, else of the starter set, with random logits: noise, and in
every window a few peaks, one of them the gold. The answers of a sample are compared, to the last digit, with those of
plain loops (`benchmarks.plain_decode`).
"""

import time
from collections.abc import Sequence

import numpy as np

from albertqa.config import DecodeConfig
from albertqa.decode.spans import Prediction, WindowLogits, decode
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from benchmarks.data import Questions, drawn_logits, on_cores, real_questions
from benchmarks.plain_decode import slow_decode
from benchmarks.provenance import command_line, spread, write_result

_CONFIG = DecodeConfig()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare, and write the result."""
    parser = command_line(__doc__, rounds=5)
    parser.add_argument(
        "--sample", type=int, default=100, metavar="N", help="questions compared with plain loops (100)"
    )
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    options = parser.parse_args(arguments)
    questions = real_questions(options.questions)
    store = questions.windows()
    logits = drawn_logits(store)
    seconds: dict[str, list[float]] = {"v1.1": [], "v2.0": []}
    sample = np.linspace(0, len(questions.examples) - 1, min(options.sample, len(questions.examples))).astype(int)
    with on_cores(1) as cores:
        for number in range(options.rounds + 1):
            for version in seconds:
                begun = time.perf_counter()
                predictions = _decode(logits, store, questions, version)
                if number:  # the first round is the warm-up
                    seconds[version].append(time.perf_counter() - begun)
                else:
                    _require_equal(predictions, logits, store, questions, version, sample.tolist())
            if number:
                print("  ".join(f"{version} {times[-1]:.2f} s" for version, times in seconds.items()), flush=True)
    write_result(
        "decode",
        {
            "n": options.rounds,
            "windows": questions.source,
            "num_windows": len(store),
            "questions": len(questions.examples),
            "cores_used": cores,
            "equal_to_plain_loops": {"questions": len(sample), "versions": list(seconds)},
            "seconds": {version: spread(times) for version, times in seconds.items()},
        },
        options.output,
    )


def _decode(logits: WindowLogits, store: WindowStore, questions: Questions, version: str) -> list[Prediction]:
    return decode(logits, store, questions.examples, _CONFIG, version_2=version == "v2.0")


def _require_equal(
    predictions: list[Prediction],
    logits: WindowLogits,
    store: WindowStore,
    questions: Questions,
    version: str,
    sample: list[int],
) -> None:
    """Stop if plain loops give another answer."""
    for index in sample:
        example = questions.examples[index]
        first, last = logits.first_token[store.first_window[[index, index + 1]]]
        alone = windows_in_memory([example], questions.tokenizer)
        part = WindowLogits(
            logits.start[first:last], logits.end[first:last], np.concatenate([[0], np.cumsum(alone.lengths)])
        )
        (expected,) = slow_decode(
            part,
            alone,
            [example],
            n_best_size=_CONFIG.n_best_size,
            max_answer_length=_CONFIG.max_answer_length,
            version_2=version == "v2.0",
            null_score_diff_threshold=_CONFIG.null_score_diff_threshold,
        )
        found = predictions[index]
        ours = [(one.text, one.start_char, one.end_char, one.start_logit, one.end_logit) for one in found.n_best]
        slow = [(one.text, one.start_char, one.end_char, one.start_logit, one.end_logit) for one in expected.n_best]
        same = found.text == expected.text and ours == slow
        if not same or (found.null_score, found.score_diff) != (expected.null_score, expected.score_diff):
            raise SystemExit(f"decode.py: {example.id}: plain loops give another answer on {version}; nothing written")


if __name__ == "__main__":
    main()
