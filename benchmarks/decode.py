"""How long do 10,808 windows of logits take to become n-best answers, on one core?

    python benchmarks/decode.py [--rounds 5]

The windows of SQuAD's dev v1.1 where ALBERTQA_DATA has it, else of the starter set, with drawn logits: low noise, and
in every window a few places that stand out, one of them the gold. Answers of a sample are compared, one by one and to
the last digit, with those of the plain loops that the tests use (``tests/decode/reference.py``).
"""

import time
from collections.abc import Sequence

import numpy as np

from albertqa.decode.spans import Prediction, WindowLogits, decode
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from birth import command_line, spread, write_result
from material import Material, drawn_logits, on_cores, real_questions, reference

_N_BEST, _MAX_ANSWER_LENGTH = 20, 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare, and write the result."""
    parser = command_line(__doc__, rounds=5)
    parser.add_argument(
        "--sample", type=int, default=100, metavar="N", help="questions compared with plain loops (100)"
    )
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    options = parser.parse_args(arguments)
    material = real_questions(options.questions)
    store = material.windows()
    logits = drawn_logits(store)
    seconds: dict[str, list[float]] = {"v1.1": [], "v2.0": []}
    sample = np.linspace(0, len(material.examples) - 1, min(options.sample, len(material.examples))).astype(int)
    with on_cores(1) as cores:
        for number in range(options.rounds + 1):
            for version in seconds:
                begun = time.perf_counter()
                predictions = _decode(logits, store, material, version)
                if number:  # the first round warms up
                    seconds[version].append(time.perf_counter() - begun)
                else:
                    _require_equal(predictions, logits, store, material, version, sample.tolist())
            if number:
                print("  ".join(f"{version} {times[-1]:.2f} s" for version, times in seconds.items()), flush=True)
    write_result(
        "decode",
        {
            "n": options.rounds,
            "windows": material.source,
            "num_windows": len(store),
            "questions": len(material.examples),
            "cores_used": cores,
            "equal_to_plain_loops": {"questions": len(sample), "versions": list(seconds)},
            "seconds": {version: spread(times) for version, times in seconds.items()},
        },
        options.output,
    )


def _decode(logits: WindowLogits, store: WindowStore, material: Material, version: str) -> list[Prediction]:
    return decode(
        logits,
        store,
        material.examples,
        n_best_size=_N_BEST,
        max_answer_length=_MAX_ANSWER_LENGTH,
        version_2=version == "v2.0",
    )


def _require_equal(
    predictions: list[Prediction],
    logits: WindowLogits,
    store: WindowStore,
    material: Material,
    version: str,
    sample: list[int],
) -> None:
    """Stop where an answer is not what plain loops give."""
    slow_decode = reference("decode/reference.py").slow_decode
    for index in sample:
        example = material.examples[index]
        first, last = logits.first_token[store.first_window[[index, index + 1]]]
        alone = windows_in_memory([example], material.tokenizer)
        part = WindowLogits(
            logits.start[first:last], logits.end[first:last], np.concatenate([[0], np.cumsum(alone.lengths)])
        )
        (expected,) = slow_decode(
            part,
            alone,
            [example],
            n_best_size=_N_BEST,
            max_answer_length=_MAX_ANSWER_LENGTH,
            version_2=version == "v2.0",
            null_score_diff_threshold=0.0,
        )
        found = predictions[index]
        ours = [(one.text, one.start_char, one.end_char, one.start_logit, one.end_logit) for one in found.n_best]
        slow = [(one.text, one.start_char, one.end_char, one.start_logit, one.end_logit) for one in expected.n_best]
        same = found.text == expected.text and ours == slow
        if not same or (found.null_score, found.score_diff) != (expected.null_score, expected.score_diff):
            raise SystemExit(f"decode.py: {example.id}: plain loops give another answer on {version}; nothing written")


if __name__ == "__main__":
    main()
