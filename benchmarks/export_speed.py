"""How fast is an exported model, and how much memory does it take, against PyTorch and Transformers?

    python -m benchmarks.export_speed [--rounds 3] [--shape base]

albert-base's shape with random weights, one thread. In every round each way answers one window of 197 real tokens, then
16 windows, one after the other in one process; ratios are computed round by round. Memory is that of a process that
opened the model and read one window.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from albertqa.decode.predict import run_windows
from albertqa.export.graph import build_graph
from albertqa.model.load import choose_precision, load_model
from albertqa.model.onnx_model import Kind, OnnxModel
from albertqa.model.processor import read_processor
from albertqa.windows.build import windows_in_memory
from benchmarks.data import real_questions
from benchmarks.models import MAX_LENGTH, SHAPES, load_plain, padded, save_random, seconds_of
from benchmarks.provenance import command_line, spread, write_result

_KINDS: tuple[Kind, ...] = ("fp32", "faithful", "fast")
_TOKENS, _WINDOWS = 197, 16
_CPU = torch.device("cpu")

_MEMORY = """
import json, resource, sys
from pathlib import Path
import numpy as np, psutil
from albertqa.windows.store import Window
kind, path = sys.argv[1:]
if kind == "torch":
    import torch
    from albertqa.model.load import load_model
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    model = load_model(path, device=torch.device("cpu"))
else:
    from albertqa.model.onnx_model import OnnxModel
    import onnxruntime
    before = psutil.Process().memory_info().rss
    model = OnnxModel(Path(path), device="cpu", num_threads=1)
ids = np.full(197, 7, dtype=np.int64)
nothing = np.zeros(0, dtype=np.int32)
with model.evaluating():
    model.score_windows([Window(0, ids, np.zeros_like(ids), 3, nothing, nothing, 0, 0)], np.array([0]))
after = psutil.Process().memory_info().rss
print(json.dumps({"before_mb": before / 1e6, "after_mb": after / 1e6}))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    questions = real_questions()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save_random(options.shape, root, vocab_size=questions.tokenizer.vocab_size)
        model = load_model(root, device=_CPU)
        sizes = {}
        for kind in _KINDS:
            onnx.save(build_graph(model, kind), root / f"{kind}.onnx")
            sizes[kind] = (root / f"{kind}.onnx").stat().st_size / 1e6
        store = windows_in_memory(questions.examples[:400], questions.tokenizer)
        near = np.argsort(np.abs(store.lengths - _TOKENS), kind="stable")
        batches = {"one question": near[:1], "16 questions": np.sort(near[:_WINDOWS])}
        plain = load_plain(root, _CPU)
        ways: dict[str, Callable[[Any], object]] = {"Transformers fp32, padded": partial(_padded, plain)}
        bf16 = choose_precision("auto", _CPU)
        for name, precision in (("PyTorch fp32, packed", None), ("PyTorch bf16, packed", bf16)):
            if precision is not None or name.endswith("fp32, packed"):
                ways[name] = partial(run_windows, load_model(root, device=_CPU, precision=precision))
        for kind in _KINDS:
            exported = OnnxModel(root / f"{kind}.onnx", device="cpu", num_threads=1)
            ways[f"ONNX {kind}"] = partial(run_windows, exported)
        found = {}
        for what, indices in batches.items():
            part = _Part(store, indices)
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(options.rounds + 1):
                for name, way in ways.items():
                    taken = seconds_of(partial(way, part), _CPU)
                    if number:
                        seconds[name].append(taken)
            first = seconds["Transformers fp32, padded"]
            found[what] = {
                name: {
                    "seconds": spread(taken),
                    "times_as_fast": spread([one / other for one, other in zip(first, taken, strict=True)]),
                }
                for name, taken in seconds.items()
            }
        memory = {"torch": _memory("torch", root)} | {kind: _memory(kind, root / f"{kind}.onnx") for kind in _KINDS}
    result = {
        "n": options.rounds,
        "shape": options.shape,
        "tokens": [int(one) for one in store.lengths[batches["16 questions"]]],
        "threads": 1,
        "processor_instructions": sorted(
            one for one in read_processor().instructions if "vnni" in one or one.startswith("amx")
        ),
        "megabytes": sizes,
        "speed": found,
        "memory": memory,
    }
    write_result("export-speed", result, options.output)


class _Part:
    """Some windows of a store, as a pass takes them."""

    max_seq_length = MAX_LENGTH

    def __init__(self, store: Any, indices: Any) -> None:
        self._store, self._indices = store, indices
        self.lengths = store.lengths[indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._store[int(self._indices[index])]


@torch.inference_mode()
def _padded(model: Any, part: _Part) -> object:
    inputs = padded(part, range(len(part)), None)
    return model(**{name: rows for name, rows in inputs.items() if not name.endswith("positions")}).start_logits.numpy()


def _memory(kind: str, path: Path) -> dict[str, float]:
    """Return the resident memory before and after a process of its own opened a model and read a window."""
    command = [sys.executable, "-c", _MEMORY, kind, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
