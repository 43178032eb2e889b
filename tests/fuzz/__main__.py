"""Fuzz one kind of input: however damaged, it gives a result or one line, soon and in little memory.

    cd tests && PYTHONPATH=..:../src python -m fuzz runs --inputs 10000 --output ../benchmarks/results

The inputs follow from the seed; input 5 alone: --first 5 --inputs 1. Exit code 1 where there was a traceback, a crash,
an input that took more than 10 seconds, or a worker that took more than 2 GiB.
"""

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from benchmarks.provenance import write_result
from vocabulary import save_tiny_albert, train_spiece

from .campaign import Target, run_campaign


def tiny_albert(folder: Path) -> Path:
    """Make a tiny model's folder."""
    contexts = dict.fromkeys(example.context.lower() for example in load_examples(starter_file("train")))
    (folder / "tiny").mkdir()
    return save_tiny_albert(folder / "tiny", train_spiece(folder, contexts))


def targets(folder: Path, model: Callable[[], Path]) -> dict[str, Callable[[], Target]]:
    """Return what can be fuzzed, by name; the good originals are made when a target is.

    Args:
        folder: An empty folder for them.
        model: Makes the folder of a tiny model, without weights.
    """
    from . import inputs, model_folders, readers, runs

    return {
        "readers": readers.Readers,
        "score": inputs.Score,
        "answer-input": lambda: inputs.AnswerInput(runs.Runs(folder, model()).finished),
        "toml": inputs.Toml,
        "model-folders": lambda: model_folders.ModelFolders(folder),
        "runs": lambda: runs.Runs(folder, model()),
    }


def main() -> int:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(targets(Path(), Path)))
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="also write the result to this folder")
    arguments = parser.parse_args()
    # Silent: a library that reports errors in a process of many would report thousands.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.raiseExceptions = False
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALBERTQA_CACHE"] = f"{folder}/cache"
        target = targets(Path(folder), lambda: tiny_albert(Path(folder)))[arguments.kind]()
        found = run_campaign(target, arguments.seed, arguments.inputs, arguments.first)
    if arguments.output is not None:
        command = f"cd tests && PYTHONPATH=..:../src python -m fuzz {' '.join(sys.argv[1:])}"
        write_result(f"fuzz-{arguments.kind}", found, arguments.output, command=command)
    print(json.dumps(found, indent=1))
    return int(bool(found["bad"]))


if __name__ == "__main__":
    sys.exit(main())
