"""How many questions a second are answered in bulk, on Ray too, and does the memory grow with their number?

    python -m benchmarks.bulk [--questions 10000 200000] [--rate-questions 80] [--rounds 3]

Memory: a tiny model with random weights answers copies of real questions (SQuAD dev v1.1 if ALBERTQA_DATA has it, else
the starter set) out of one JSON lines file, in parts of 2,000; the peak of the process's memory is compared between the
sizes. Rates: albert-base's shape with random weights; one process with as many threads as cores, as many processes with
one thread and a shard each, and Ray with as many actors with one thread each; counted from when every core has answered
a part, so that the start is left out. Reading alone is measured, too.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from albertqa.bulk.job import BulkJob, BulkProgress, PlainEngine, reader_settings
from albertqa.bulk.parts import cut_into_parts
from albertqa.bulk.ray_engine import RayEngine
from albertqa.data.reading import stream_questions
from benchmarks.data import copies, real_questions
from benchmarks.models import SHAPES, save_random
from benchmarks.processes import in_fresh_process, peak_bytes
from benchmarks.provenance import command_line, spread, usable_cores, write_result

_MEMORY_PART, _RATE_PART = 2_000, 5
_MIB = 2**20
_OPTIONS = {"device": "cpu"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument(
        "--questions", type=int, nargs="*", default=[10_000, 200_000], metavar="N", help="sizes; none: no memory"
    )
    parser.add_argument("--rate-questions", type=int, default=80, metavar="N", help="questions of a round; 0: no rates")
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape where rates are measured")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out")
    options = parser.parse_args(arguments)
    source = real_questions(1).source
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocab_size = real_questions(1).tokenizer.vocab_size
        for shape in {"tiny", options.shape}:
            in_fresh_process(save_model, shape, str(folder / shape), vocab_size)
        if options.questions:
            sizes = _sizes(folder, options.questions)
            smallest = str(folder / f"{options.questions[0]}.jsonl")
            result = {
                "n": options.rounds,
                "questions": source,
                "sizes": sizes,
                "times_the_memory": round(sizes[-1]["peak_mib"] / sizes[0]["peak_mib"], 3),
                "questions_read_per_cpu_second": spread(
                    [in_fresh_process(measure_reading, smallest) for _ in range(options.rounds)]
                ),
            }
            write_result("bulk-memory", result, options.output)
        if options.rate_questions:
            result = {"n": options.rounds, "questions": source, **_rates(folder, options)}
            write_result("bulk-rates", result, options.output)


def _sizes(folder: Path, counts: Sequence[int]) -> list[dict[str, float]]:
    sizes = []
    for count in counts:
        path = folder / f"{count}.jsonl"
        in_fresh_process(write_questions, str(path), count)
        sizes.append(in_fresh_process(measure_memory, str(path), str(folder / "tiny"), str(folder / f"out-{count}")))
        print(json.dumps(sizes[-1]), flush=True)
    return sizes


def _rates(folder: Path, options: Any) -> dict[str, Any]:
    cores = usable_cores()
    source = str(folder / "rates.jsonl")
    in_fresh_process(write_questions, source, options.rate_questions)
    engines = ["threads", "shards"] if options.no_ray else ["threads", "shards", "ray"]
    rounds: list[dict[str, float]] = []
    for number in range(options.rounds):
        places = {engine: str(folder / f"{engine}-{number}") for engine in engines}
        model = str(folder / options.shape)
        row = {engine: measure_rate(engine, source, model, place, cores) for engine, place in places.items()}
        rounds.append(row)
        print("  ".join(f"{engine} {rate:.1f} questions/s" for engine, rate in row.items()), flush=True)
    found: dict[str, Any] = {
        "shape": options.shape,
        "cores": cores,
        "questions_of_a_round": options.rate_questions,
        "questions_per_second": {engine: spread([row[engine] for row in rounds]) for engine in engines},
    }
    if not options.no_ray:
        found["ray / shards"] = spread([row["ray"] / row["shards"] for row in rounds])
        found["ray / threads"] = spread([row["ray"] / row["threads"] for row in rounds])
    return found


def save_model(shape: str, folder: str, vocab_size: int) -> None:
    """Save a model with random weights beside the questions' tokenizer."""
    save_random(shape, folder, vocab_size=vocab_size)
    real_questions(1).tokenizer.save(Path(folder))


def write_questions(path: str, count: int) -> None:
    """Write so many questions as JSON lines."""
    with Path(path).open("w", encoding="utf-8") as file:
        for one in copies(real_questions().examples, count):
            file.write(json.dumps({"id": one.id, "question": one.question, "context": one.context}) + "\n")


def measure_memory(source: str, model: str, output: str) -> dict[str, float]:
    """Answer all questions of a file; return the peak of memory, and what it was after the first part."""
    after_first: list[int] = []

    def progress(_: BulkProgress) -> None:
        if not after_first:
            after_first.append(peak_bytes())

    begun = time.perf_counter()
    finished = _job(source, model, output, _MEMORY_PART).run(_plain(model, 1), progress)
    seconds = time.perf_counter() - begun
    written = sum(path.stat().st_size for path in Path(output).glob("part-*"))
    return {
        "questions": finished["questions"],
        "bytes_read_per_question": round(Path(source).stat().st_size / finished["questions"], 1),
        "bytes_written_per_answer": round(written / finished["questions"], 1),
        "peak_mib": round(peak_bytes() / _MIB, 1),
        "peak_after_the_first_part_mib": round(after_first[0] / _MIB, 1),
        "questions_per_second": round(finished["questions"] / seconds, 1),
    }


def measure_rate(engine: str, source: str, model: str, output: str, cores: int) -> float:
    """Return the questions that are answered a second, once every core has answered a part.

    Args:
        engine: ``threads``: one process; ``shards``: as many with a thread each; ``ray``: as many actors.
        source: The questions.
        model: The model.
        output: Folder of the answers.
        cores: Threads, processes or actors.
    """
    shards = [(index + 1, cores) for index in range(cores)] if engine == "shards" else [(1, 1)]
    with ThreadPoolExecutor(len(shards)) as pool:
        jobs = [
            pool.submit(in_fresh_process, measure_moments, engine, source, model, output, cores, shard)
            for shard in shards
        ]
        moments = [job.result() for job in jobs]
    # Of one process with several threads or actors, the first part of each core is left out alike.
    first = max(of_one[0 if engine == "shards" else cores - 1][0] for of_one in moments)
    last = max(of_one[-1][0] for of_one in moments)
    counted = [[questions for moment, questions in of_one if moment <= first][-1:] or [0] for of_one in moments]
    return (sum(of_one[-1][1] for of_one in moments) - sum(count for (count,) in counted)) / (last - first)


def measure_moments(
    engine: str, source: str, model: str, output: str, cores: int, shard: tuple[int, int]
) -> list[tuple[float, int]]:
    """Answer a file's questions; return when how many were answered."""
    moments: list[tuple[float, int]] = []

    def progress(now: BulkProgress) -> None:
        moments.append((time.time(), now.questions))

    runner = _ray(model, cores) if engine == "ray" else _plain(model, cores if engine == "threads" else 1)
    replace(_job(source, model, output, _RATE_PART), shard=shard).run(runner, progress)
    return moments


def measure_reading(source: str) -> float:
    """Return the questions that are read and cut into parts in a second of a core."""
    begun = time.process_time()
    count = sum(len(part.questions) for part in cut_into_parts(stream_questions([source]), most=_MEMORY_PART))
    return count / (time.process_time() - begun)


def _job(source: str, model: str, output: str, part_questions: int) -> BulkJob:
    return BulkJob((source,), Path(output), model, reader_settings(model), part_questions=part_questions)


def _plain(model: str, threads: int) -> PlainEngine:
    return PlainEngine(model, {**_OPTIONS, "num_threads": threads}, n_best=1, batch_size=32)


def _ray(model: str, actors: int) -> RayEngine:
    return RayEngine(model, {**_OPTIONS, "num_threads": 1}, n_best=1, batch_size=32, actors=actors)


if __name__ == "__main__":
    main()
