"""How long do three epochs of SQuAD take on one GPU? The whole of it is run; nothing is extrapolated.

    python benchmarks/epochs.py [--device cuda]

88,641 windows, as SQuAD's training set has, of real lengths (SQuAD's dev v1.1 where ALBERTQA_DATA has it, else the
starter set, as often as it takes), batch 16, albert-base's shape with random weights, the project's own loop with
everything but evaluations and checkpoints. The time runs from compiling the layer to the end of the last step; building
the windows is measured by windows.py.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch

from albertqa.errors import ModelError
from albertqa.model.compiled import compile_layer
from albertqa.model.load import choose_device, choose_precision, load_model
from albertqa.run.optimizer import build_optimizer
from albertqa.run.provenance import device_name
from albertqa.windows.build import build_windows
from birth import command_line, spread, write_result
from material import real_questions
from models import LEARNING_RATE, SHAPES, on_device, refuse, run_steps, save_random

_NUM_WINDOWS = 88_641
REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the result.

    Returns:
        Exit code: `REFUSED` without a GPU.
    """
    parser = command_line(__doc__)
    parser.add_argument("--device", default="cuda", help="a CUDA device (cuda)")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="passes over the windows (3)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="windows of a step (16)")
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    options = parser.parse_args(arguments)
    try:
        device = choose_device(options.device)
    except ModelError as error:
        return _refuse(str(error))
    if device.type != "cuda":
        return _refuse(f"device is '{device}'")
    material = real_questions()
    one = material.windows()
    # Some questions have several windows: as many questions as come nearest to the number from below.
    times, rest = divmod(_NUM_WINDOWS, len(one))
    count = times * len(material.examples) + int((one.first_window <= rest).sum()) - 1
    again = [replace(example, id=f"{example.id}-{time}") for time in range(times + 1) for example in material.examples]
    store = build_windows(again[:count], material.tokenizer)
    precision = choose_precision("auto", device)
    with tempfile.TemporaryDirectory() as folder:
        save_random(options.shape, folder, vocab_size=material.tokenizer.vocab_size)
        model = load_model(folder, device=device, precision=precision)
    optimizer = build_optimizer(model.model, learning_rate=LEARNING_RATE)
    per_epoch = -(-len(store) // options.batch)
    begun = time.perf_counter()
    # As the recipe does it on a GPU, with as many steps as these.
    if (reason := compile_layer(model)) is not None:
        refuse(f"the layer is not compiled: {reason}")
    compiled = time.perf_counter()
    rows = run_steps(model, store, optimizer, first=0, last=options.epochs * per_epoch, batch=options.batch)
    torch.cuda.synchronize(device)
    seconds = time.perf_counter() - begun
    ends = [0.0, *(rows[(epoch + 1) * per_epoch - 1]["seconds"] for epoch in range(options.epochs))]
    write_result(
        on_device("epochs", device),
        {
            "n": 1,
            "device": device.type,
            "device_name": device_name(device),
            "shape": options.shape,
            "windows": material.source,
            "num_windows": len(store),
            "mean_real_tokens": round(float(store.lengths.mean()), 1),
            "batch": options.batch,
            "epochs": options.epochs,
            "steps": len(rows),
            "precision": str(precision or torch.float32),
            "seconds": round(seconds, 2),
            "seconds_to_compile": round(compiled - begun, 2),
            "seconds_of_an_epoch": spread([after - before for before, after in pairwise(ends)]),
            "real_tokens_per_second": round(options.epochs * int(store.lengths.sum()) / seconds, 1),
            "peak_memory_mib": round(torch.cuda.max_memory_allocated(device) / 2**20, 1),
        },
        options.output,
    )
    return 0


def _refuse(why: str) -> int:
    print(
        f"epochs.py: {why}. Three epochs are run whole, on a CUDA device only; on a CPU they take days", file=sys.stderr
    )
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
