"""An exported model answers as its source does, through the same windows and decoding, without PyTorch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import albertqa
from albertqa.answer.answerer import Answerer
from albertqa.config import DeviceConfig
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import load_reader
from albertqa.errors import AlbertQAError
from albertqa.windows.build import windows_in_memory
from decode.cases import starter_examples

from .conftest import DATA, KINDS

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = DeviceConfig(device="cpu", mixed_precision="no")
WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("PyTorch is not there")

sys.meta_path.insert(0, NoTorch())
"""


def test_the_fp32_file_gives_the_same_answers(reader_folder: Path, exported: dict[str, Path]) -> None:
    pairs = [(one.question, one.context) for one in starter_examples(40)]
    expected = Answerer(reader_folder, device="cpu", mixed_precision="no").answer_batch(pairs, n_best=3)
    for backend in ("onnx", "auto"):
        found = Answerer(exported["fp32"], backend=backend, num_threads=1).answer_batch(pairs, n_best=3)
        assert [(one.start_char, one.end_char, one.text) for one in found] == [
            (one.start_char, one.end_char, one.text) for one in expected
        ]
        np.testing.assert_allclose([one.score for one in found], [one.score for one in expected], atol=1e-4)


def test_evaluation_equals_that_of_the_source(reader_folder: Path, exported: dict[str, Path]) -> None:
    expected = albertqa.evaluate(reader_folder, DATA, limit=30, device="cpu", mixed_precision="no")
    found = albertqa.evaluate(exported["fp32"], DATA, limit=30, backend="onnx")
    assert found.scores == expected.scores
    assert found.loss == pytest.approx(expected.loss, abs=1e-4)
    assert found.num_windows == expected.num_windows


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_does_not_depend_on_its_company(exported: dict[str, Path], kind: str) -> None:
    reader = load_reader(exported[kind], CPU, backend="onnx", max_seq_length=96, doc_stride=32)
    examples = starter_examples(12)
    store = windows_in_memory(examples, reader.tokenizer, max_seq_length=96, doc_stride=32)
    assert len(store) > len(examples)
    together = run_windows(reader.model, store).logits
    for index in (0, 5, 11):
        alone = windows_in_memory([examples[index]], reader.tokenizer, max_seq_length=96, doc_stride=32)
        first, last = together.first_token[store.first_window[index : index + 2]]
        found = run_windows(reader.model, alone, batch_size=1).logits
        tolerance = 0 if kind == "fast" else 2e-5
        np.testing.assert_allclose(found.start, together.start[first:last], rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.end, together.end[first:last], rtol=0, atol=tolerance)


def test_together_windows_of_the_fast_form_would_depend_on_each_other(exported: dict[str, Path]) -> None:
    """Otherwise the test above could not fail."""
    model = load_reader(exported["fast"], CPU, backend="onnx").model
    tokenizer = load_reader(exported["fast"], CPU, backend="onnx").tokenizer
    store = windows_in_memory(starter_examples(12), tokenizer, max_seq_length=96, doc_stride=32)
    together, alone = (model.score_windows(store, np.arange(count)) for count in (12, 1))
    assert together is not None
    assert alone is not None
    assert np.abs(together.start[: len(alone.start)] - alone.start).max() > 1e-4


@pytest.mark.parametrize("kind", ["fp32", "fast"])
def test_answering_and_evaluating_load_no_pytorch(exported: dict[str, Path], kind: str, tmp_path: Path) -> None:
    code = f"""{WITHOUT_TORCH}
from albertqa import cli

code = cli.main(["answer", {str(exported[kind])!r}, "--question", "Who swam?", "--context", "Rollo swam.", "--json"])
code += cli.main(["evaluate", {str(exported[kind])!r}, {DATA!r}, "--backend", "onnx", "--max-eval-examples", "3",
                  "--output-dir", {str(tmp_path)!r}])
import albertqa.serve.app, albertqa.serve.server
print(code, [name for name in sys.modules if name.partition(".")[0] in ("torch", "transformers", "onnx")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["0 []"], done.stdout + done.stderr
    assert json.loads((tmp_path / "eval.json").read_text())["questions"] == 3


def test_what_is_no_exported_model_is_refused_in_one_line(
    reader_folder: Path, exported: dict[str, Path], tmp_path: Path
) -> None:
    def refusal(folder: Path, **options: object) -> str:
        with pytest.raises(AlbertQAError) as caught:
            load_reader(folder, DeviceConfig(**{"device": "cpu", **options}), backend="onnx")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refusal(reader_folder) == (
        f"{reader_folder}: no onnx/model_quantized.onnx and no onnx/model.onnx there, expected an exported model. "
        f"Export it: albertqa export {reader_folder} --output FOLDER"
    )
    folder = Path(shutil.copytree(exported["fp32"], tmp_path / "copy"))
    path = folder / "onnx" / "model.onnx"
    graph = onnx.load(path)
    props = {one.key: one for one in graph.metadata_props}
    props["albertqa.format"].value = "2"
    onnx.save(graph, path)
    assert refusal(folder) == (
        f"{path}: is of export format 2, this version reads 1. Export the model again: albertqa export RUN --output "
        "FOLDER"
    )
    del graph.metadata_props[:]
    onnx.save(graph, path)
    assert refusal(folder).startswith(f"{path}: was not written by 'albertqa export', so what it computes is not known")
    path.write_bytes((exported["fp32"] / "onnx" / "model.onnx").read_bytes()[:5000])
    assert refusal(folder).startswith(f"{path}: cannot be opened (")
    assert "device is 'mps', expected auto, cpu, cuda" in refusal(exported["fp32"], device="mps")
    assert "this ONNX Runtime has no CUDA" in refusal(exported["fp32"], device="cuda:1")
    assert "an exported model computes as it was exported" in refusal(exported["fp32"], mixed_precision="bf16")


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="no qemu-x86_64 (Debian: qemu-user)")
def test_processors_without_vnni_give_the_same_logits(exported: dict[str, Path], tmp_path: Path) -> None:
    """The same file on an emulated processor with AVX2 only, and on this one."""
    code = f"""
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({str(exported["fast"] / "onnx" / "model_quantized.onnx")!r})
rng = np.random.default_rng(0)
ids, mask = rng.integers(5, 1000, (1, 50)), np.ones((1, 50), dtype=np.int64)
segments = (np.arange(50) > 12).astype(np.int64)[None]
np.save(sys.argv[1], session.run(None, dict(input_ids=ids, attention_mask=mask, token_type_ids=segments)))
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    found = []
    for name, emulator in (("here", []), ("haswell", ["qemu-x86_64", "-cpu", "Haswell"])):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        python = str(Path(sys.executable).resolve())
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        subprocess.run([*emulator, python, str(script), str(tmp_path / name)], check=True, env=environment, timeout=300)
        found.append(np.load(tmp_path / f"{name}.npy"))
    # fp32 parts may be summed in another order; a cut-off sum of int8 would be off by far more.
    np.testing.assert_allclose(found[1], found[0], atol=2e-2)
