"""Checkpoints: everything a run needs to go on as if it had not been interrupted, written atomically.

A checkpoint is a Transformers model folder with the optimizer's state beside it. Tensors are safetensors only (no
pickles). The manifest with every file's SHA-256 is written last and the folder is renamed into its place after that,
so a checkpoint is complete or is not used.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from albertqa.errors import AlbertQAError, RunError
from albertqa.files import CHECKPOINTS, file_sha256, first_line, write_folder, write_json
from albertqa.model.load import SpanModel
from albertqa.schema import convert, parse_json, read_object, read_text, require_file

if TYPE_CHECKING:
    from albertqa.windows.tokenizer import QATokenizer

MANIFEST_JSON = "manifest.json"
STATE_JSON = "trainer_state.json"
OPTIMIZER = "optimizer.safetensors"
WEIGHTS = "model.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_Least0 = Annotated[int, Meta(ge=0)]


@dataclass
class TrainState:
    """How far a run is. The loop owns it.

    Attributes:
        step: Optimizer steps done; epoch and position in the data follow from it.
        seconds: Training time so far, resumed parts included.
    """

    step: _Least0 = 0
    seconds: float = 0.0


@dataclass
class BestModel:
    """The best model so far. `albertqa.run.evaluator.Evaluator` owns it.

    Attributes:
        best_value: Its value of the metric for model selection, None before the first evaluation.
        best_step: Its step; 0 before the first evaluation.
        evaluations_since_best: Evaluations without a better one.
        stopped_early: Whether early stopping ended the run.
    """

    best_value: float | None = None
    best_step: _Least0 = 0
    evaluations_since_best: _Least0 = 0
    stopped_early: bool = False


@dataclass
class Adaptation:
    """How the steps were adapted to the machine. `albertqa.run.step.Stepper` owns it.

    Attributes:
        micro_batch: Windows of one forward and backward pass, where the memory holds fewer than the settings ask for.
        recompute: Whether activations are recomputed in the backward pass.
        fp32_since_step: First step in full precision, where half precision had to be given up.
        faults_in_a_row: Steps just before this one that were skipped because loss or gradient was NaN or infinite.
    """

    micro_batch: Annotated[int, Meta(ge=1)] | None = None
    recompute: bool = False
    fp32_since_step: _Least0 | None = None
    faults_in_a_row: _Least0 = 0


@dataclass
class Progress:
    """All of a run that changes beside weights and optimizer: the content of ``trainer_state.json``.

    Attributes:
        state: How far it is.
        best: The best model so far.
        adaptation: How the steps were adapted to the machine.
        metrics_bytes: Length of ``metrics.jsonl`` at this step; later lines are of steps that will be done again.
        augmentation: How often each augmentation applied (see `albertqa.windows.augmentation.Augmenter`).
    """

    state: TrainState = field(default_factory=TrainState)
    best: BestModel = field(default_factory=BestModel)
    adaptation: Adaptation = field(default_factory=Adaptation)
    metrics_bytes: _Least0 = 0
    augmentation: dict[str, dict[str, int]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as one flat JSON object."""
        parts = (asdict(self.state), asdict(self.best), asdict(self.adaptation))
        rest = {"metrics_bytes": self.metrics_bytes, "augmentation": self.augmentation}
        write_json(path, {**parts[0], **parts[1], **parts[2], **rest})

    @classmethod
    def read(cls, path: Path) -> "Progress":
        """Read what `write` wrote.

        Raises:
            KeyError: Something is missing.
            RunError: It is not JSON, or a value is not what it must be.
        """
        content = read_object(path)
        parts = {
            name: {one: content[one] for one in kind.__dataclass_fields__}
            for name, kind in (("state", TrainState), ("best", BestModel), ("adaptation", Adaptation))
        }
        rest = {name: content[name] for name in ("metrics_bytes", "augmentation")}
        return convert({**parts, **rest}, cls, str(path))


def save_checkpoint(
    run: Path, progress: Progress, model: SpanModel, tokenizer: "QATokenizer", optimizer: torch.optim.Optimizer
) -> Path:
    """Write a checkpoint below a run directory; return its folder, ``checkpoints/step-00001000``."""
    folder = run / CHECKPOINTS / _folder_name(progress.state.step)
    folder.parent.mkdir(exist_ok=True)

    def write(building: Path) -> None:
        model.save(building)
        tokenizer.save(building)
        save_file(_optimizer_tensors(model, optimizer), building / OPTIMIZER)
        progress.write(building / STATE_JSON)
        files = {path.name: file_sha256(path) for path in sorted(building.iterdir())}
        write_json(building / MANIFEST_JSON, files)

    write_folder(folder, write)
    return folder


def remove_checkpoints(folder: Path, *, keep: int) -> None:
    """Keep a new checkpoint and the newest before it, `keep` in all; later ones were passed over as damaged."""
    found = sorted(folder.parent.glob("step-*"), reverse=True)
    newest = found.index(folder)
    for other in found[:newest] + found[newest + keep :]:
        shutil.rmtree(other)


def newest_checkpoint(run: Path) -> tuple[Path | None, list[str]]:
    """Find the newest undamaged checkpoint.

    Returns:
        Its folder, or None where there is none; and one warning for every damaged one that was passed over.
    """
    warnings: list[str] = []
    for folder in sorted((run / CHECKPOINTS).glob("step-*"), reverse=True):
        damage = next(_damages(folder), None)
        if damage is None:
            return folder, warnings
        warnings.append(f"{folder}: {damage}; passed over")
    return None, warnings


def load_checkpoint(folder: Path, model: SpanModel, optimizer: torch.optim.Optimizer) -> Progress:
    """Put model, freshly built optimizer and random generators back to an undamaged checkpoint.

    Raises:
        RunError: The checkpoint is of another model.
    """
    try:
        model.load_weights(folder)
        tensors = load_file(folder / OPTIMIZER, device="cpu")
        # Without moments, no step was applied before this checkpoint.
        was_stepped = any(name.startswith("exp_avg/") for name in tensors)
        for name, parameter in model.model.named_parameters():
            if not parameter.requires_grad or not was_stepped:
                continue
            moments = _moments(tensors, name, parameter)
            optimizer.state[parameter] = {
                moment: value if moment == "step" and model.device.type == "cpu" else value.to(model.device)
                for moment, value in moments.items()
            }
        torch.set_rng_state(tensors["rng/cpu"])
        if model.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng/cuda"], model.device)
        progress = Progress.read(folder / STATE_JSON)
    except (AlbertQAError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder}: does not fit this model ({first_line(error)}). Start again in another --output-dir"
        ) from error
    if folder.name != (expected := _folder_name(progress.state.step)):
        raise RunError(f"{folder}: its {STATE_JSON} is of {expected}. Start again in another --output-dir")
    return progress


def _folder_name(step: int) -> str:
    return f"step-{step:08d}"


def _moments(tensors: dict[str, torch.Tensor], name: str, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the optimizer's state of a parameter.

    Raises:
        KeyError: It is missing.
        ValueError: It is of another shape or type.
    """
    moments = {moment: tensors[f"{moment}/{name}"] for moment in _MOMENTS}
    for moment, value in moments.items():
        shape = parameter.shape if moment != "step" else torch.Size([])
        if value.shape != shape or value.dtype != torch.float32:
            raise ValueError(
                f"{moment} of {name}: expected {[*shape]} in fp32, found {[*value.shape]} in {value.dtype}"
            )
    return moments


def _optimizer_tensors(model: SpanModel, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    tensors = {
        f"{moment}/{name}": optimizer.state[parameter][moment].detach().cpu().contiguous()
        for name, parameter in model.model.named_parameters()
        if parameter.requires_grad and parameter in optimizer.state
        for moment in _MOMENTS
    }
    tensors["rng/cpu"] = torch.get_rng_state()
    if model.device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(model.device)
    return tensors


def _damages(folder: Path) -> Iterator[str]:
    """Yield what is wrong with a checkpoint's files, first thing first."""
    try:
        files = parse_json(read_text(folder / MANIFEST_JSON, RunError))
        for name, sha256 in files.items():
            require_file(folder / name)
            if file_sha256(folder / name) != sha256:
                yield f"{name} is damaged"
        if not {WEIGHTS, OPTIMIZER, STATE_JSON} <= files.keys():
            yield "is incomplete"
    except OSError as error:
        yield f"{Path(error.filename or MANIFEST_JSON).name} cannot be read"
    except (AlbertQAError, AttributeError):
        yield f"{MANIFEST_JSON} is damaged"
