"""How many windows a second are built, and how long does it take to open them again?

    python -m benchmarks.windows [--rounds 5] [--cores 2]

The questions of SQuAD's dev v1.1 if ALBERTQA_DATA has them (10,808 windows), else of the starter set. Every round
builds the windows in a new cache folder, then opens them, as the next run with the same data does: it computes the key
from the questions and checks the SHA-256 of the files.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from albertqa.windows.build import build_windows
from benchmarks.data import on_cores, real_questions
from benchmarks.provenance import command_line, spread, write_result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=5)
    parser.add_argument("--cores", type=int, default=2, metavar="N", help="cores to build on (2)")
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    options = parser.parse_args(arguments)
    built, opened = [], []
    # Before anything is tokenized: the tokenizer starts a thread for each core then.
    with on_cores(options.cores) as cores:
        questions = real_questions(options.questions)
        for number in range(options.rounds + 1):
            with tempfile.TemporaryDirectory() as cache:
                begun = time.perf_counter()
                store = build_windows(questions.examples, questions.tokenizer, cache=Path(cache))
                between = time.perf_counter()
                build_windows(questions.examples, questions.tokenizer, cache=Path(cache))
                ended = time.perf_counter()
            if number:  # the first round is the warm-up
                built.append(len(store) / (between - begun))
                opened.append(ended - between)
                print(f"built {built[-1]:,.0f} windows/s, opened in {opened[-1]:.3f} s", flush=True)
    write_result(
        "windows",
        {
            "n": options.rounds,
            "questions": len(questions.examples),
            "windows": questions.source,
            "num_windows": len(store),
            "cores_used": cores,
            "windows_per_second": spread(built),
            "seconds_to_open": spread(opened),
        },
        options.output,
    )


if __name__ == "__main__":
    main()
