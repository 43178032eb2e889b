"""Checkpoints: all that a run needs to go on as if nothing had happened, written as a transaction.

A checkpoint is a Transformers model folder with the optimizer's state beside it. Tensors are safetensors only (no
pickles); the manifest with every file's SHA-256 is written last, and the folder is renamed into its place after that,
so a checkpoint is whole or is not looked at.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from albertqa import rundir
from albertqa.errors import RunError
from albertqa.model.load import SpanModel
from albertqa.training.average import WeightAverage

if TYPE_CHECKING:
    from albertqa.windows.tokenizer import QATokenizer

MANIFEST_JSON = "manifest.json"
STATE_JSON = "trainer_state.json"
OPTIMIZER = "optimizer.safetensors"
WEIGHTS = "model.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class TrainState:
    """Where a run stands.

    Attributes:
        step: Optimizer steps done; epoch and position in the data follow from it.
        seconds: Training time so far, over all its processes.
        metrics_bytes: Length of the record at this step; later lines are of steps that will be done again.
        best_value: Best value of the chosen metric so far, None before the first evaluation.
        best_step: Its step.
        evaluations_since_best: Evaluations without a better one.
        stopped_early: Whether early stopping ended the run at this step.
        augmentation: What augmentation did so far, by way (see `Augmenter`); empty without it.
        micro_batch: Windows of one forward and backward, where the memory holds fewer than the settings ask for.
        recompute: Whether the encoder's activations are recomputed in the backward pass.
        fp32_since_step: First step in full precision, where the run had to give up half precision.
        faults_in_a_row: Steps just before this one that were left out because their numbers were none.
    """

    step: int = 0
    seconds: float = 0.0
    metrics_bytes: int = 0
    best_value: float | None = None
    best_step: int = 0
    evaluations_since_best: int = 0
    stopped_early: bool = False
    augmentation: dict[str, dict[str, int]] = field(default_factory=dict)
    micro_batch: int | None = None
    recompute: bool = False
    fp32_since_step: int | None = None
    faults_in_a_row: int = 0


def save_checkpoint(
    run: Path,
    state: TrainState,
    model: SpanModel,
    tokenizer: "QATokenizer",
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
    average: WeightAverage | None = None,
) -> Path:
    """Write a checkpoint, remove the oldest beyond `keep`, and those of later steps: they were passed over as damaged.

    Args:
        run: The run directory.
        state: Where the run stands.
        model: The model.
        tokenizer: Saved beside it.
        optimizer: Its state goes along.
        keep: Checkpoints kept, newest first.
        average: Moving average of the weights, saved beside the optimizer's state; the model is saved as it is.

    Returns:
        Its folder, ``checkpoints/step-00001000``.
    """
    checkpoints = run / rundir.CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    final = checkpoints / f"step-{state.step:08d}"
    building = checkpoints / f".{final.name}.building"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        model.save(building)
        tokenizer.save(building)
        tensors = _optimizer_tensors(model.model, optimizer)
        if average is not None:
            tensors |= {f"average/{name}": one.cpu().contiguous() for name, one in average.tensors().items()}
        save_file(tensors, building / OPTIMIZER)
        (building / STATE_JSON).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        files = {}
        for path in sorted(building.iterdir()):
            files[path.name] = _sync_and_hash(path)
        rundir.write_json(building / MANIFEST_JSON, files)
        rundir.sync_folder(building)
        shutil.rmtree(final, ignore_errors=True)
        building.rename(final)
        rundir.sync_folder(checkpoints)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    there = sorted(checkpoints.glob("step-*"), reverse=True)
    newest = there.index(final)
    for other in there[:newest] + there[newest + keep :]:
        shutil.rmtree(other)
    return final


def newest_checkpoint(run: Path) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint.

    Args:
        run: The run directory.

    Returns:
        Its folder, or None where there is none; and one warning for every damaged one that was passed over.
    """
    warnings: list[str] = []
    for folder in sorted((run / rundir.CHECKPOINTS).glob("step-*"), reverse=True):
        damage = next(_damages(folder), None)
        if damage is None:
            return folder, warnings
        warnings.append(f"{folder}: {damage}; passed over")
    return None, warnings


def load_checkpoint(
    folder: Path, model: SpanModel, optimizer: torch.optim.Optimizer, average: WeightAverage | None = None
) -> TrainState:
    """Put model, optimizer and random generators back to a checkpoint.

    Args:
        folder: A whole checkpoint (see `newest_checkpoint`).
        model: The model, of the same kind.
        optimizer: Its optimizer, freshly built.
        average: Moving average of its weights, freshly built.

    Returns:
        Where the run stood.

    Raises:
        RunError: The checkpoint is of another model.
    """
    try:
        model.model.load_state_dict(load_file(folder / WEIGHTS, device=str(model.device)))
        tensors = load_file(folder / OPTIMIZER, device="cpu")
        # Without moments, no step was applied before this checkpoint.
        was_stepped = any(name.startswith("exp_avg/") for name in tensors)
        for name, parameter in model.model.named_parameters():
            if not parameter.requires_grad or not was_stepped:
                continue
            state = {moment: tensors[f"{moment}/{name}"] for moment in _MOMENTS}
            optimizer.state[parameter] = {
                moment: value if moment == "step" and model.device.type == "cpu" else value.to(model.device)
                for moment, value in state.items()
            }
        if average is not None:
            average.load({name: tensors[f"average/{name}"] for name in average.tensors()})
        torch.set_rng_state(tensors["rng/cpu"])
        if model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng/cuda"], model.device)
        return TrainState(**json.loads((folder / STATE_JSON).read_text(encoding="utf-8")))
    except (KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{folder}: does not fit this model ({first}). Start anew in another --output-dir") from error


def _optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {
        f"{moment}/{name}": optimizer.state[parameter][moment].detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter in optimizer.state
        for moment in _MOMENTS
    }
    tensors["rng/cpu"] = torch.get_rng_state()
    device = next(model.parameters()).device
    if device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def _sync_and_hash(path: Path) -> str:
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _damages(folder: Path) -> Iterator[str]:
    """Tell what is wrong with a checkpoint's files, first thing first."""
    try:
        files = json.loads((folder / MANIFEST_JSON).read_text(encoding="utf-8"))
        for name, sha256 in files.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    yield f"{name} is damaged"
        if not {WEIGHTS, OPTIMIZER, STATE_JSON} <= files.keys():
            yield "is incomplete"
    except OSError as error:
        yield f"{Path(error.filename or MANIFEST_JSON).name} cannot be read"
    except (ValueError, AttributeError):
        yield f"{MANIFEST_JSON} is damaged"
