"""The benchmarks run on tiny sizes, their results have a complete provenance, and the table has the results."""

import ast
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.config import DecodeConfig
from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.model.processor import read_processor
from decode.cases import save_reader

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
MEASURING = ("windows", "decode", "answering", "evaluate", "memory", "learning", "scaling", "train_throughput")


def load(name: str) -> ModuleType:
    return import_module(f"benchmarks.{name}")


@pytest.fixture(autouse=True)
def _starter_set_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALBERTQA_DATA", str(tmp_path / "none"))


def written(folder: Path) -> dict[str, Any]:
    """Read the one result in a folder; check its provenance."""
    (path,) = folder.glob("*.json")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert path.name.startswith(f"{result['name']}-")
    assert path.stem.endswith(result["commit"])
    for key in ("date", "command", "machine", "versions", "n", "uncommitted_changes"):
        assert key in result
    assert result["command"].startswith("python -m benchmarks.")
    return result


def is_spread(value: dict[str, float]) -> bool:
    return 0 < value["min"] <= value["median"] <= value["max"]


# -- the scripts, on tiny sizes


def test_benchmarks_do_not_import_tests() -> None:
    folders = {path.stem for path in (ROOT / "tests").iterdir()} | {"tests"}
    for path in BENCHMARKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & folders, path


@pytest.mark.parametrize("name", MEASURING)
def test_help_has_the_question_and_the_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    doc = ast.get_docstring(ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))) or ""
    assert "?" in doc.split("\n\n")[0]
    assert f"python -m benchmarks.{name}" in doc
    with pytest.raises(SystemExit) as ended:
        load(name).main(["--help"])
    assert ended.value.code == 0
    assert "--output FOLDER" in capsys.readouterr().out


def test_windows_are_built_and_opened(tmp_path: Path) -> None:
    load("windows").main(["--rounds", "2", "--questions", "20", "--cores", "1", "--output", str(tmp_path)])
    result = written(tmp_path)
    assert (result["questions"], result["cores_used"], result["n"]) == (20, 1, 2)
    assert result["num_windows"] >= 20
    assert is_spread(result["windows_per_second"])
    assert is_spread(result["seconds_to_open"])


def test_decoding_is_timed_and_compared_with_plain_loops(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    load("decode").main(["--rounds", "1", "--questions", "20", "--sample", "6", "--output", str(tmp_path)])
    assert os.sched_getaffinity(0) == cores
    result = written(tmp_path)
    assert result["equal_to_plain_loops"] == {"questions": 6, "versions": ["v1.1", "v2.0"]}
    assert result["cores_used"] == 1
    assert all(is_spread(one) for one in result["seconds"].values())


def test_a_decoder_with_other_answers_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("decode")
    right = module.decode
    monkeypatch.setattr(
        module, "decode", lambda *args, **named: right(*args[:3], DecodeConfig(max_answer_length=1), **named)
    )
    with pytest.raises(SystemExit, match=r"plain loops give another answer on v1\.1; nothing written"):
        module.main(["--rounds", "1", "--questions", "6", "--sample", "6", "--output", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_evaluation_is_measured_against_transformers(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--questions", "3", "--shape", "tiny", "--device", "cpu"]
    load("evaluate").main([*arguments, "--output", str(tmp_path)])
    result = written(tmp_path)
    assert is_spread(result["ratios"]["ours_fp32 / Transformers"])
    assert {"Transformers", "ours_fp32"} <= result["windows_per_second"].keys()


def test_answers_are_measured_against_transformers(tmp_path: Path) -> None:
    arguments = ["--rounds", "1", "--starts", "1", "--questions", "20", "--shape", "tiny", "--device", "cpu"]
    load("answering").main([*arguments, "--output", str(tmp_path)])
    result = written(tmp_path)
    for at_once in ("questions_1", "questions_16"):
        assert is_spread(result[at_once]["ratios"]["ours_fp32 / Transformers_fp32"])
    assert is_spread(result["start"]["first_answer_seconds"])


@pytest.mark.usefixtures("one_thread")
def test_exported_models_are_timed_and_their_memory_measured(tmp_path: Path) -> None:
    load("export_speed").main(["--rounds", "1", "--shape", "tiny", "--output", str(tmp_path)])
    result = written(tmp_path)
    for ways in result["speed"].values():
        assert {"Transformers fp32, padded", "PyTorch fp32, packed", "ONNX fp32", "ONNX fast"} <= ways.keys()
        assert all(is_spread(way["times_as_fast"]) for way in ways.values())
    assert result["memory"].keys() == {"torch", "fp32", "faithful", "fast"}
    assert all(one["after_mb"] > one["before_mb"] > 0 for one in result["memory"].values())


@pytest.mark.usefixtures("browser")
def test_the_browsers_reader_is_timed(tmp_path: Path, runtime: Path) -> None:
    environment = {**os.environ, "ALBERTQA_CACHE": str(runtime.parent), "OMP_NUM_THREADS": "1"}
    arguments = ["--rounds", "1", "--shape", "tiny", "--questions", "20", "--output", str(tmp_path)]
    # In a process of its own, as Playwright runs once in a process.
    command = [sys.executable, "-m", "benchmarks.export_browser", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    result = written(tmp_path)
    assert is_spread(result["seconds_of_a_question"])
    assert result["seconds_until_the_first_answer"] > result["seconds_until_loaded"] > 0
    assert result["megabytes_of_the_folder"] > result["megabytes"]["onnx/model_quantized.onnx"] > 0


@pytest.mark.usefixtures("one_thread")
def test_what_exported_models_lose_is_measured(tmp_path: Path, tiny_folder: Path) -> None:
    run = save_reader(tmp_path / "run", tiny_folder)
    load("export_loss").main([str(run), "--shape", "tiny", "--limit", "6", "--output", str(tmp_path / "results")])
    result = written(tmp_path / "results")
    shape, (losses,) = result["random"], result["trained"].values()
    assert shape["large_tensors"] == shape["large_initializers"] == shape["different"]
    assert max(shape["logits"].values()) < 1e-4
    assert losses["fp32"]["same_answers_as_torch"] == losses["questions"] == 6
    assert {"quantize_dynamic", "faithful", "fast"} <= losses.keys()


def test_a_forward_with_other_logits_is_not_measured() -> None:
    store = SimpleNamespace(lengths=np.array([2, 1], dtype=np.int32))
    rows = [np.array([1.0, 2.0, 9.0], dtype=np.float32), np.array([3.0, 9.0, 9.0], dtype=np.float32)]
    module = load("evaluate")
    module._require_equal(np.array([1, 2, 3], dtype=np.float32), rows, store)
    with pytest.raises(SystemExit, match=r"logits differ by 1, expected at most 0\.001; nothing written"):
        module._require_equal(np.array([1, 2, 4], dtype=np.float32), rows, store)


def test_training_is_measured_against_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("train_throughput")
    monkeypatch.setattr(module, "_GEMM_SIZES", {"cpu": (64,)})
    arguments = ["--rounds", "2", "--questions", "12", "--batch", "2", "--shape", "tiny", "--device", "cpu"]
    module.main([*arguments, "--output", str(tmp_path)])
    result = written(tmp_path)
    best = "ours" if "bfloat16" in result["precision_of_B_and_ours"] else "ours_fp32"
    assert result["ratios"].keys() == {f"{best} / A", "ours_on_B / B", "ours_on_B / B_kept", "ours_fp32 / A"}
    assert all(is_spread(one) for one in [*result["ratios"].values(), *result["real_tokens_per_second"].values()])
    assert result["share_of_gemm_peak"]["median"] > 0


def test_fused_attention_is_compared_with_plain_products(tmp_path: Path) -> None:
    load("attention").main(["--rounds", "2", "--output", str(tmp_path)])
    result = written(tmp_path)
    for dtype in ("float32", "bfloat16"):
        assert result[dtype].keys() == {"64", "128", "197", "384"}
        assert all(is_spread(one) and one["median"] > 0 for row in result[dtype].values() for one in row.values())


def test_packed_weights_are_compared_with_plain_ones(tmp_path: Path) -> None:
    arguments = ["--rounds", "2", "--output", str(tmp_path)]
    if not read_processor().has_bf16:
        with pytest.raises(SystemExit, match="does not multiply bf16; nothing written"):
            load("linear").main(arguments)
        return
    load("linear").main(arguments)
    result = written(tmp_path)
    for rows in ("208", "1024", "3104"):
        assert len(result[rows]) == 5
        assert all(is_spread(one) for of_layer in result[rows].values() for one in of_layer.values())


def test_both_ways_of_adding_gradients_are_compared(tmp_path: Path) -> None:
    arguments = ["--steps", "2", "--seeds", "1", "--shape", "tiny"]
    load("gradient_sums").main([*arguments, "--output", str(tmp_path)])
    result = written(tmp_path)
    assert result["gradient"].keys() == result["learning"]["loss"].keys() == {"added in bf16", "added in fp32"}
    assert all(0 < value < 1 for value in result["gradient"].values())
    # The same start, the same windows: only rounding differs.
    assert abs(result["learning"]["difference"]["median"]) < 0.1
    assert all(0 < score < 100 for way in result["learning"]["f1"].values() for score in way)


def test_both_loops_are_compared_on_the_same_windows(tmp_path: Path) -> None:
    arguments = ["--steps", "3", "--device", "cpu", "--seeds", "1", "--questions", "6"]
    load("learning").main([*arguments, "--output", str(tmp_path)])
    fp32 = written(tmp_path)["fp32"]
    assert len(fp32["losses"]["ours"]) == len(fp32["losses"]["plain"]) == 3
    assert fp32["largest_relative_difference"] < 1e-5


def test_rounded_products_are_those_of_bf16() -> None:
    import torch

    rounded = load("rounded_bf16").RoundedProducts
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48)
    found = []
    for mode in (nullcontext(), rounded()):
        values = torch.ones(3, 5, 64, requires_grad=True)
        with mode, torch.autocast("cpu", dtype=torch.bfloat16):
            result = layer(values * torch.linspace(-2, 2, 64))
            result.square().sum().backward()
        assert result.dtype is torch.bfloat16
        assert layer.weight.grad is not None
        found.append((result.float(), values.grad, layer.weight.grad.clone()))
        layer.zero_grad()
    for plain, ours in zip(*found, strict=True):
        # A sum in another order may round to the neighbour: 2⁻⁸ of the number.
        torch.testing.assert_close(ours, plain, rtol=2**-7, atol=2**-7)
        assert (ours == plain).float().mean() > 0.9


def test_bf16_is_compared_without_the_hardware_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("learning")
    monkeypatch.setattr(module, "has_fast_bf16", lambda _: False)
    arguments = ["--steps", "1", "--device", "cpu", "--seeds", "1", "--questions", "6", "--rounded-bf16"]
    module.main([*arguments, "--output", str(tmp_path)])
    bf16 = written(tmp_path)["bf16"]
    assert bf16["how"] == "computed in fp32 and rounded"
    assert [len(values) for values in bf16["f1"].values()] == [1, 1]


def test_memory_is_measured_in_processes_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.memory", "--shapes", "tiny", "--batches", "32", "--device", "cpu"]
    command += ["--questions", "30", "--output", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    cells = {(cell["way"], cell["batch"]): cell["peak_mib"] for cell in written(tmp_path)["cells"]}
    assert cells.keys() == {("ours", 32), ("ours_recomputed", 32), ("padded", 32)}
    assert cells["ours", 32] > 0
    assert cells["ours_recomputed", 32] > 0
    # At least the hidden states of one layer; which way takes most depends on the processor for so small a model.
    assert cells["padded", 32] > 32 * 384 * 32 * 4 / 2**20


def test_memory_of_one_more_window_is_the_slope_of_the_cells() -> None:
    slope = load("memory")._slope
    cells = [{"batch": batch, "peak_mib": 100 + 7.5 * batch} for batch in (1, 2, 8)]
    assert slope([*cells, {"batch": 16, "peak_mib": None}]) == 7.5
    assert slope(cells[:1]) is None


def test_growth_is_measured_in_processes_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.scaling", "--sizes", "20", "60", "--contexts", "1", "2"]
    command += ["--rounds", "1", "--shape", "tiny", "--output", tmp_path]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    result = written(tmp_path)
    assert result["against_windows"].keys() == {"build", "open", "pack", "decode"}
    assert result["against_context_tokens"].keys() == {"build", "read"}
    for stage in result["against_windows"].values():
        small, large = stage["points"]
        assert 20 <= small["windows"] < large["windows"]
        assert is_spread(large["seconds"])


# -- their data


@cache
def twelve_questions() -> list[Example]:
    return load_examples("starter:train", limit=12)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 60))
def test_copies_are_other_questions_with_answers_at_their_positions(count: int) -> None:
    examples = twelve_questions()
    found = load("data").copies(examples, count)
    assert len({example.id for example in found}) == len(found) == count
    assert found[:12] == examples[:count]
    for at, example in enumerate(found):
        gold = example.golds[0]
        assert example.context[gold.answer_start : gold.answer_end] == gold.text
        assert (example.context == examples[at % 12].context) == (at < 12)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 384), min_size=1, max_size=200), st.integers(1, 32))
def test_every_batch_has_the_same_mix_of_lengths(lengths: list[int], count: int) -> None:
    chosen = load("data").same_mix(np.array(lengths, dtype=np.int32), count)
    picked = [lengths[at] for at in chosen]
    assert len(picked) == count
    assert picked == sorted(picked)
    middle = sorted(lengths)[len(lengths) // 2]
    assert picked[0] <= middle <= picked[-1]


def test_random_logits_have_peaks_at_the_golds() -> None:
    store = load("data").real_questions(20).windows()
    logits = load("data").drawn_logits(store)
    labels, first = store.columns["start_position"], logits.first_token
    at_gold = logits.start[first[:-1] + labels]
    assert len(logits.start) == len(logits.end) == first[-1] == store.lengths.sum()
    assert np.mean(at_gold) > np.mean(logits.start) + 5


def test_long_contexts_have_the_tokens_asked_for_and_differ() -> None:
    questions = load("data").real_questions(60)
    found = load("scaling").long_examples(questions, 700, 3)
    encodings = questions.tokenizer.encode_batch([example.context for example in found])
    assert [len(encoding.ids) for encoding in encodings] == [700, 700, 700]
    assert len({example.context for example in found}) == 3


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_the_power(power: float) -> None:
    sizes = [10, 100, 1000]
    rounds = [[scale * size**power for size in sizes] for scale in (1.0, 7.0)]
    found = load("scaling")._exponents(sizes, rounds, 1.0)
    assert found == {name: pytest.approx(power) for name in ("median", "min", "max")}


def test_costs_that_are_too_small_have_no_exponent() -> None:
    assert load("scaling")._exponents([1, 2], [[0.9, 5.0]], 1.0) is None
    assert load("scaling")._exponents([1], [[1.0]], 1.0) is None


# -- the table


def result(name: str, date: str, **content: Any) -> dict[str, Any]:
    machine = {"processor": {"name": "Some Processor", "instructions": ["avx2", "avx512f"]}, "cores": 2}
    return {
        "name": name,
        "date": date,
        "commit": "0123456789",
        "n": 5,
        "machine": machine,
        "windows": "some",
        **content,
    }


def write(folder: Path, *results: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    for one in results:
        (folder / f"{one['name']}-{one['date']}-{one['commit']}.json").write_text(json.dumps(one))


def tables_of(folder: Path) -> str:
    """Return the tables of the results in a folder."""
    table = load("table")
    return str(table.report(table.read_results(folder), folder / "README.md", folder))


def row(tables: str, start: str) -> list[str]:
    (line,) = [line for line in tables.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_without_results_every_row_has_the_reason(tmp_path: Path) -> None:
    table = load("table")
    tables = table.report({}, tmp_path / "README.md", tmp_path)
    assert row(tables, "Training in bf16, share")[3] == "not measured here: no bf16 in hardware"
    assert row(tables, "Windows built")[3] == "not measured yet"
    assert len(tables.splitlines()) == 2 + len(table.ROWS)


def test_the_newest_result_that_has_the_figure_is_shown(tmp_path: Path) -> None:
    spread = {"median": 2600.0, "min": 2400.0, "max": 2700.0}
    write(
        tmp_path,
        result("windows", "20260102", cores_used=2, windows_per_second=spread),
        result("windows", "20260101", cores_used=2, windows_per_second={**spread, "median": 1.0}),
        # Newer, but not on two cores.
        result("windows", "20260103", cores_used=1, windows_per_second={**spread, "median": 9.0}),
    )
    cells = row(tables_of(tmp_path), "Windows built")
    assert cells[1:6] == ["2,500", "", "2,600 (2,400 to 2,700)", "5", "reached"]
    assert cells[6:] == [
        "Some Processor with AVX512, 2 cores",
        "[windows-20260102-0123456789](windows-20260102-0123456789.json)",
    ]


@pytest.mark.parametrize(("ratio", "verdict"), [(3.3, "aim reached"), (3.0, "reached"), (1.9, "**missed**")])
def test_the_verdict_compares_with_the_targets(ratio: float, verdict: str, tmp_path: Path) -> None:
    write(tmp_path, result("train-throughput", "2026", ratios={"ours_fp32 / A": ratio}))
    cells = row(tables_of(tmp_path), "Training in fp32, against A")
    assert cells[1:3] == ["2.9 times", "3.2 times"]
    assert cells[5:7] == [verdict, "Some Processor with AVX512, 2 cores"]


@pytest.mark.parametrize(("seconds", "verdict"), [(1.9, "reached"), (2.1, "**missed**")])
def test_a_time_must_be_below_its_target(seconds: float, verdict: str, tmp_path: Path) -> None:
    write(tmp_path, result("decode", "2026", num_windows=10_808, seconds={"v1.1": seconds}))
    cells = row(tables_of(tmp_path), "10,808 windows")
    assert cells[1] == "≤ 2 s"
    assert cells[5] == verdict


def test_every_machine_has_a_line_and_a_gpu_no_verdict(tmp_path: Path) -> None:
    gpu = {"device": "cuda", "device_name": "G"}
    write(
        tmp_path,
        result("train-throughput", "2026", ratios={"ours_fp32 / A": 3.0}),
        result("train-throughput-cuda", "2026", ratios={"ours_fp32 / A": 1.5}, **gpu),
    )
    lines = [line for line in tables_of(tmp_path).splitlines() if line.startswith("| Training in fp32, against A")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")][3:7] for line in lines]
    assert cells == [["3 times", "5", "reached", "Some Processor with AVX512, 2 cores"], ["1.5 times", "5", "", "G"]]


def test_bf16_and_fp32_do_not_take_each_others_place(tmp_path: Path) -> None:
    ratios = {"ours_fp32 / A": 2.4, "ours_on_B / B": 1.07}
    write(
        tmp_path,
        result("train-throughput", "1", precision_of_B_and_ours="torch.float32", ratios=ratios, share_of_gemm_peak=0.6),
    )
    tables = tables_of(tmp_path)
    assert row(tables, "Training in bf16, share")[3] == "not measured here: no bf16 in hardware"
    assert row(tables, "Training in fp32, share")[3] == "0.6"
    assert row(tables, "Training in fp32, against B")[3] == "1.07 times"


def test_only_what_lies_between_the_markers_is_replaced() -> None:
    table = load("table")
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    once = table.replace_between_markers(text, "new")
    assert once == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    assert table.replace_between_markers(once, "new") == once
    with pytest.raises(ValueError, match="the document lacks"):
        table.replace_between_markers("nothing", "new")


def test_the_documents_table_has_the_results() -> None:
    table = load("table")
    text = table.README.read_text(encoding="utf-8")
    tables = table.report(table.read_results(table.RESULTS), table.README, table.FIGURES)
    assert table.replace_between_markers(text, tables) == text, "run: python -m benchmarks.table"


def test_the_document_lists_every_measurement() -> None:
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [name for name in MEASURING if f"| `{name}` |" not in text] == []
    assert set(load("bench").SCRIPTS) == set(MEASURING) <= set(SCRIPTS)


SPREAD = {"median": 2.0, "min": 1.0, "max": 3.0}
FULL = (
    result(
        "train-throughput",
        "2026-01-01",
        real_tokens_per_second={"A": SPREAD, "B": SPREAD, "ours_fp32": SPREAD},
        ratios={"ours_fp32 / A": SPREAD},
    ),
    result(
        "evaluate",
        "2026-01-01",
        windows_per_second={"Transformers": SPREAD, "ours_fp32": SPREAD},
        ratios={"ours_fp32 / Transformers": SPREAD},
    ),
    result(
        "memory",
        "2026-01-01",
        cells=[
            {"shape": "base", "way": way, "batch": batch, "real_tokens": 180 * batch, "peak_mib": peak}
            for way, peak in (("ours", 10.0), ("ours_recomputed", 5.0), ("padded", None))
            for batch in (1, 2)
        ],
    ),
    result(
        "scaling",
        "2026-01-01",
        **{
            against: {
                "build": {
                    "points": [{axis: size, "seconds": SPREAD, "mib": {**SPREAD, "min": 0.0}} for size in (10, 100)],
                    "seconds_exponent": SPREAD,
                    "mib_exponent": None,
                }
            }
            for against, axis in (("against_windows", "windows"), ("against_context_tokens", "context_tokens"))
        },
    ),
)


def test_tables_and_figures_of_a_trial_are_beside_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *FULL)
    document = (BENCHMARKS / "README.md").read_bytes()
    table = load("table")
    table.main(["--results", str(tmp_path)])
    assert (BENCHMARKS / "README.md").read_bytes() == document
    tables = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| albert-base | 2 | 360 | does not fit | 10 | 5 |" in tables
    assert "| build | 10 windows | 100 windows | 2 | 2 | 2.00 (1.00 to 3.00) | too small |" in tables
    assert tables.strip().removeprefix(table.BEGIN).removesuffix(table.END).strip() in capsys.readouterr().out
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert set(re.findall(r'"figures/(\S+?)"', tables)) == drawn
    assert drawn == {f"{name}-{kind}.svg" for name in ("throughput", "memory", "scaling") for kind in ("light", "dark")}


def test_the_same_results_give_the_same_figures(tmp_path: Path) -> None:
    figures = load("figures")
    newest = {one["name"]: one for one in FULL}
    once, again = (figures.draw_figures(newest, tmp_path / name) for name in ("once", "again"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    assert len(once) == 6


# -- all of them


@pytest.mark.parametrize(("codes", "expected"), [({}, 0), ({"decode": 2}, 1), ({"table": 1}, 1)])
def test_one_command_runs_everything_and_names_what_failed(
    codes: dict[str, int],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = load("bench")
    ran = []

    def run(command: list[str], *, check: bool, cwd: Path) -> SimpleNamespace:
        assert (check, cwd) == (False, ROOT)
        ran.append((command[2], Path(command[4])))
        return SimpleNamespace(returncode=codes.get(command[2].removeprefix("benchmarks."), 0))

    monkeypatch.setattr(bench.subprocess, "run", run)
    assert bench.main(["--output", str(tmp_path)]) == expected
    assert ran == [(f"benchmarks.{name}", tmp_path) for name in (*bench.SCRIPTS, "table")]
    printed = capsys.readouterr()
    assert printed.err == "".join(f"failed: {name}\n" for name in codes)
    assert printed.out.startswith(f"runs {', '.join(bench.SCRIPTS)}\n")


@pytest.mark.parametrize("has_bf16", [False, True])
def test_rows_that_the_machine_cannot_measure_are_listed_first(has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = load("bench")
    monkeypatch.setattr(bench, "has_fast_bf16", lambda _: has_bf16)
    rows = bench.unmeasured_rows().get("no bf16 in hardware", [])
    assert ("Training in bf16, against `run_qa`'s defaults (A)" in rows) is not has_bf16


def test_bulk_answering_is_measured(tmp_path: Path) -> None:
    arguments = ["--questions", "20", "40", "--rate-questions", "60", "--rounds", "1", "--shape", "tiny", "--no-ray"]
    load("bulk").main([*arguments, "--output", str(tmp_path)])
    results = {path.name[:11]: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert [one["questions"] for one in results["bulk-memory"]["sizes"]] == [20, 40]
    assert is_spread(results["bulk-rates-"]["questions_per_second"]["threads"])
    assert is_spread(results["bulk-rates-"]["questions_per_second"]["shards"])
    assert is_spread(results["bulk-memory"]["questions_read_per_cpu_second"])


def test_a_plan_multiplies_measured_rates_out() -> None:
    rate = {"median": 100.0, "min": 100.0, "max": 100.0}
    found = {
        "evaluate": {"windows_per_second": {"ours": rate}, "device_name": "GPU"},
        "windows": {"windows_per_second": {"median": 4000.0}, "cores_used": 2},
        "decode": {"num_windows": 2000, "seconds": {"v1.1": {"median": 1.0}}},
        "bulk-memory": {
            "questions_read_per_cpu_second": {"median": 10_000.0},
            "sizes": [{"bytes_read_per_question": 1000.0, "bytes_written_per_answer": 100.0}],
        },
    }
    plan = load("plan").plan(found, 10**9, [1, 64])
    assert plan["cores_that_keep_8_devices_busy"] == pytest.approx(8 * 100 * (1 / 2000 + 1 / 2000))
    assert (plan["terabytes_read"], plan["terabytes_written"], plan["parts"]) == (1.0, 0.1, 100_000)
    one, many = plan["by_hosts"]
    assert one["hours_of_the_devices"] == pytest.approx(10**9 / 800 / 3600, rel=1e-3)
    assert (one["bottleneck_with_shard"], many["bottleneck_with_shard"]) == ("devices", "reading")
