"""Ray answers as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .cases import OPTIONS, files_of, finish, job_of, write_questions

pytest.importorskip("ray", reason="needs Ray: pip install 'albertqa[ray]'")

FLAGS = ["--device", "cpu", "--num-threads", "1", "--max-seq-length", "128", "--doc-stride", "32"]
SCRIPT = """
import json, sys
import ray
from albertqa.bulk import ray_answers
source, model, output, options = sys.argv[1:]
ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
answers = ray_answers(ray.data.read_json(source), model, actors=2, batch_rows=10, **json.loads(options))
answers.write_json(output)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=300)


def test_the_engine_writes_the_same_files(tiny_weights: Path, tmp_path: Path) -> None:
    source = write_questions(tmp_path / "questions.jsonl", 30)
    finish(job_of((source,), tmp_path / "plain", tiny_weights))
    words = ["-m", "albertqa", "answer", str(tiny_weights), "--input", str(source), "--output", str(tmp_path / "ray")]
    more = ["--engine", "ray", "--part-questions", "3", "--mixed-precision", "no", "--batch-size", "8"]
    done = run(*words, *more, *FLAGS)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == f"30 answers in 10 parts: {tmp_path / 'ray'}"
    assert files_of(tmp_path / "ray").keys() == files_of(tmp_path / "plain").keys()
    for name, content in files_of(tmp_path / "plain").items():
        assert files_of(tmp_path / "ray")[name] == content, name


def test_an_address_without_a_cluster_is_one_line(tiny_weights: Path, tmp_path: Path) -> None:
    source = write_questions(tmp_path / "questions.jsonl", 3)
    words = ["-m", "albertqa", "answer", str(tiny_weights), "--input", str(source), "--output", str(tmp_path / "ray")]
    done = run(*words, "--engine", "ray", "--ray-address", "127.0.0.1:1", *FLAGS)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("albertqa: --ray-address: no Ray cluster at 127.0.0.1:1")


@pytest.mark.slow
def test_a_ray_data_set_is_answered(tiny_weights: Path, tmp_path: Path) -> None:
    source = write_questions(tmp_path / "questions.jsonl", 30)
    finish(job_of((source,), tmp_path / "plain", tiny_weights, form="jsonl"))
    done = run("-c", SCRIPT, str(source), str(tiny_weights), str(tmp_path / "ray"), json.dumps(OPTIONS))
    assert done.returncode == 0, done.stderr[-2000:]

    def texts(folder: Path) -> list[tuple[str, str]]:
        rows = [json.loads(line) for path in sorted(folder.glob("*.json*")) for line in path.read_text().splitlines()]
        return sorted((row["question"], row["text"]) for row in rows if "text" in row)

    (tmp_path / "plain" / "manifest.json").unlink()
    assert texts(tmp_path / "ray") == texts(tmp_path / "plain")
