"""Does an exported model compute the same, and what do the forms of int8 lose?

    python -m benchmarks.export_loss [RUN ...] [--data starter:validation]

First albert-base's shape with random weights: initializers and sizes against the state dict, and the largest difference
of the logits from PyTorch's for windows of 8 to 512 tokens, alone and in batches. Then trained models: fp32 and both
forms of int8 on their validation data, and beside them ONNX Runtime's own `quantize_dynamic` as it is usually called.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import quantize_dynamic

from albertqa.config import DeviceConfig
from albertqa.data.reading import load_several
from albertqa.decode.reader import load_reader
from albertqa.export.gate import LIMITS, Questions, answer_all, measure
from albertqa.export.graph import build_graph
from albertqa.model.load import SpanModel, load_model
from albertqa.model.onnx_model import Kind, OnnxModel
from albertqa.scoring.interval import difference_interval
from albertqa.windows.build import build_windows
from albertqa.windows.store import Window
from benchmarks.models import SHAPES, save_random
from benchmarks.provenance import command_line, write_result

_LENGTHS, _BATCHES = (8, 64, 197, 384, 512), (1, 3, 8)
_LARGE_BYTES = 65_536
_KINDS: tuple[Kind, ...] = ("faithful", "fast")
_CPU = DeviceConfig(device="cpu", mixed_precision="no", num_threads=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="trained models")
    parser.add_argument("--data", nargs="+", default=["starter:validation"], help="their validation data")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first so many questions")
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the random model's shape (base)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    # ONNX Runtime's quantizer recommends a step that changes nothing here.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shape = _shape(options.shape, root)
        losses = {run.name: _losses(run, options.data, options.limit, root) for run in options.runs}
    result = {"n": len(losses), "shape": options.shape, "random": shape, "data": options.data, "trained": losses}
    write_result("export-loss", result, options.output)


def _shape(shape: str, root: Path) -> dict[str, Any]:
    save_random(shape, root / "random")
    model = load_model(root / "random", device=torch.device("cpu"))
    graph = build_graph(model)
    path = root / "random.onnx"
    onnx.save(graph, path)
    theirs = _state_dict_bytes(root / "random")
    found = {
        "large_tensors": sum(one >= _LARGE_BYTES for one in theirs),
        "large_initializers": sum(len(one.raw_data) >= _LARGE_BYTES for one in graph.graph.initializer),
        "different": len({one.raw_data for one in graph.graph.initializer if len(one.raw_data) >= _LARGE_BYTES}),
        "state_dict_mb": sum(theirs) / 1e6,
        "fp32_mb": path.stat().st_size / 1e6,
        "nodes": dict(Counter(node.op_type for node in graph.graph.node).most_common()),
    }
    found["logits"] = _differences(model, OnnxModel(path, device="cpu", num_threads=1))
    for kind in _KINDS:
        onnx.save(build_graph(model, kind), path)
        found[f"{kind}_mb"] = path.stat().st_size / 1e6
    return found


def _state_dict_bytes(folder: Path) -> list[int]:
    from safetensors.torch import load_file

    return [one.nbytes for one in load_file(folder / "model.safetensors").values()]


def _differences(model: SpanModel, exported: OnnxModel) -> dict[str, float]:
    """Return the largest difference of logits by window length and batch."""
    rng, nothing = np.random.default_rng(0), np.zeros(0, dtype=np.int32)
    found = {}
    for length in _LENGTHS:
        if length > model.max_positions:
            continue
        # Of a batch, each window is of another length, the first one of this.
        windows = [
            Window(
                *(0, rng.integers(5, model.vocab_size, size), (np.arange(size) > size // 3).astype(np.int64)),
                *(size // 3, nothing, nothing, 0, 0),
            )
            for size in [length, *rng.integers(2, length, max(_BATCHES) - 1)]
        ]
        for batch in _BATCHES:
            with model.evaluating():
                ours, theirs = (one.score_windows(windows, np.arange(batch)) for one in (model, exported))
            assert ours is not None
            assert theirs is not None
            difference = max(np.abs(ours.start - theirs.start).max(), np.abs(ours.end - theirs.end).max())
            found[f"length {length}, batch {batch}"] = float(difference)
    return found


def _losses(run: Path, data: list[str], limit: int | None, root: Path) -> dict[str, Any]:
    reader = load_reader(run, _CPU, backend="torch")
    assert isinstance(reader.model, SpanModel)
    examples, settings = load_several(data, limit=limit), reader.settings
    store = build_windows(
        examples, reader.tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
    )
    questions = Questions(examples, store, settings, bool(settings.version_2_with_negative), ", ".join(data))
    open_model = partial(OnnxModel, device="cpu", num_threads=1)
    path = root / "trained.onnx"
    torch_answers = answer_all(reader.model, questions)
    onnx.save(build_graph(reader.model), path)
    whole = answer_all(open_model(path), questions)
    same = sum(one == other for one, other in zip(whole.spans, torch_answers.spans, strict=True))
    naive = root / "naive.onnx"
    quantize_dynamic(path, naive)
    megabytes = path.stat().st_size / 1e6
    found: dict[str, Any] = {
        "questions": len(examples),
        "groups": reader.model.model.config.groups,
        "layers": reader.model.model.config.layers,
        "torch": {"exact": torch_answers.exact, "f1": torch_answers.f1},
        "fp32": {"exact": whole.exact, "f1": whole.f1, "megabytes": megabytes, "same_answers_as_torch": same},
        "quantize_dynamic": asdict(measure(open_model(naive), naive, questions, whole, ())),
    }
    for kind in _KINDS:
        onnx.save(build_graph(reader.model, kind), path)
        measured = measure(open_model(path), path, questions, whole, ())
        found[kind] = {**asdict(measured), "is_within_limits": measured.is_within(LIMITS[kind])}
    found["f1_change_of_torch"] = asdict(difference_interval(torch_answers.f1_of, whole.f1_of))
    return found


if __name__ == "__main__":
    main()
