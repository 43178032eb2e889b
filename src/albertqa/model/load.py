"""Load an encoder with a span head from a model folder, or draw one at random, and save it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from albertqa.errors import ModelError
from albertqa.files import fetch_folder
from albertqa.model.encoder import Encoder, Layer
from albertqa.model.families import Family
from albertqa.model.memory import available_bytes, is_out_of_memory
from albertqa.model.processor import read_processor
from albertqa.model.span_loss import span_losses
from albertqa.model.starter_model import STARTER, starter_encoder
from albertqa.model.weights import CONFIG_JSON, read_config, read_weights, write_model
from albertqa.model.window_model import WindowModel, WindowScores
from albertqa.windows.batches import PackedBatch, WindowSource, pack

_HUB_FILES = ("*.json", "*.safetensors", "*.model", "vocab.txt", "merges.txt")
_PICKLED_FILES = ("pytorch_model*.bin",)


@dataclass
class SpanModel(WindowModel):
    """An encoder with a span head, ready for packed batches.

    Attributes:
        model: The encoder, on its device; its parameters are trained.
        family: The family whose names it is saved with.
        device: Where it computes.
        autocast_dtype: Type of the matrix products, or None for the weights' own (fp32).
        carried: Further fields of its ``config.json`` (see `Family.carried`).
    """

    model: Encoder
    family: Family
    device: torch.device
    autocast_dtype: torch.dtype | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.model.config
        self.max_positions, self.vocab_size = config.positions - config.first_position, config.vocab_size

    @property
    def has_dropout(self) -> bool:
        """Whether two forwards in training differ."""
        config = self.model.config
        return any((config.hidden_dropout, config.attention_dropout, config.head_dropout))

    def logits(self, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Score every token as start and as end of the answer (see `Encoder.forward`).

        Shapes:
            returns: two of (T,) float32
        """
        start_logits, end_logits = self.model(batch, self.autocast_dtype)
        return start_logits, end_logits

    def score_windows(self, source: WindowSource, indices: NDArray[np.int64]) -> WindowScores | None:
        """See `WindowModel`."""
        try:
            batch = pack(source, indices).to(self.device)
            start_logits, end_logits = self.logits(batch)
            losses = span_losses(start_logits, end_logits, batch)
            return WindowScores(start_logits.cpu().numpy(), end_logits.cpu().numpy(), losses.double().cpu().numpy())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """See `WindowModel`; the mode comes back at the end."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(was_training)

    def recompute_activations(self) -> None:
        """Recompute activations in the backward pass from now on (see `Encoder`), without the compiler."""
        self.model.recompute, self.model.after_attention = True, Layer.after_attention

    def save(self, folder: Path) -> None:
        """Write config and safetensors that `AutoModelForQuestionAnswering.from_pretrained` opens.

        Raises:
            ModelError: The files cannot be written.
        """
        write_model(folder, self.family, self.model, self.carried)

    def load_weights(self, folder: Path) -> None:
        """Take the weights of a folder that `save` wrote.

        Raises:
            ModelError: They are damaged, or of another encoder.
        """
        self.model.load_state_dict(read_weights(folder, self.family, self.model, say=_print_error))


def load_model(
    source: str | Path,
    *,
    device: torch.device,
    precision: torch.dtype | None = None,
    from_scratch: bool = False,
    needs_head: bool = False,
    hidden_dropout: float | None = None,
    attention_dropout: float | None = None,
    head_dropout: float | None = None,
    say: Callable[[str], None] | None = None,
) -> SpanModel:
    """Load an encoder for question answering.

    Args:
        source: Local folder, Hub name, or ``starter``.
        device: Where it computes.
        precision: Type of the matrix products (see `choose_precision`).
        from_scratch: Take only the configuration and draw random weights.
        needs_head: Refuse a model without a trained span head, too.
        hidden_dropout: Dropout of hidden states instead of the config's.
        attention_dropout: Dropout of attention probabilities instead of the config's.
        head_dropout: Dropout before the span head instead of the config's.
        say: Takes a line for the user; None: it is printed to standard error.

    Returns:
        The model, in evaluation mode; a head that the folder lacks is drawn at random.

    Raises:
        ModelError: It cannot be found or opened, or some weights are missing, damaged or of another encoder.
    """
    say = say or _print_error
    folder = Path(resolve_model(source))
    try:
        family, config, carried = read_config(folder)
        changes: dict[str, Any] = {
            "hidden_dropout": hidden_dropout,
            "attention_dropout": attention_dropout,
            "head_dropout": head_dropout,
        }
        config = replace(config, **{name: value for name, value in changes.items() if value is not None})
        # It takes no memory until the files are known to fit it.
        with torch.device("meta"):
            encoder = Encoder(config)
        _require_memory(encoder)
        if from_scratch:
            _require_drawable(carried)
            encoder.to_empty(device="cpu")
            encoder.draw_weights(encoder)
        else:
            weights = read_weights(folder, family, encoder, say=lambda line: say(f"{source}: {line}"))
            encoder.load_state_dict(weights, strict=False, assign=True)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    if encoder.qa_outputs.weight.is_meta:
        if needs_head:
            raise ModelError(
                f"{source}: has no trained span head (qa_outputs). Train it first: albertqa train --model {source}"
            )
        encoder.qa_outputs.to_empty(device="cpu")
        encoder.draw_weights(encoder.qa_outputs)
    return SpanModel(encoder.to(device).eval(), family, device, precision, carried)


def resolve_model(source: str | Path) -> str:
    """Return the local folder of a model: a folder itself, that of ``starter``, or of a Hub name, which is downloaded.

    Raises:
        ModelError: It is not there and cannot be fetched.
    """
    if str(source) == STARTER:
        return str(starter_encoder())
    if Path(source).is_dir():
        if not (Path(source) / CONFIG_JSON).is_file():
            raise ModelError(f"{source}: no {CONFIG_JSON} there, expected a Transformers model folder")
        return str(source)
    if Path(source).exists():
        raise ModelError(f"{source}: is a file, expected a Transformers model folder or a Hub name")
    fetch = partial(
        fetch_folder,
        str(source),
        error_type=ModelError,
        expected="folder",
        remedy="Give a local folder with the model, connect to a network, or try offline with --model starter",
    )
    folder = fetch(_HUB_FILES)
    return str(folder if any(folder.glob("*.safetensors")) else fetch((*_HUB_FILES, *_PICKLED_FILES)))


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns:
        The device; auto takes a GPU where there is one.

    Raises:
        ModelError: The name is not a device's, or this machine has none of it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device is '{name}', expected auto, cpu, cuda, cuda:N or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False) or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ModelError(f"device is '{name}', but this machine has none. Use --device auto or --device cpu")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the type of the matrix products that a setting names.

    Args:
        name: ``auto``, ``no``, ``bf16`` or ``fp16``.
        device: Where the model computes.

    Returns:
        The type, or None for fp32. Auto takes bf16 where the device has it in hardware: emulated, it is several
        times slower than fp32.

    Raises:
        ModelError: fp16 is asked for where it does not train (anywhere but a GPU).
    """
    if name == "fp16" and device.type != "cuda":
        raise ModelError(
            f"mixed_precision is fp16 on {device.type}, expected a CUDA device. Use --mixed-precision auto"
        )
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else None
    return {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def has_fast_bf16(device: torch.device) -> bool:
    """Report whether a device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and read_processor().has_bf16


def _require_memory(encoder: Encoder) -> None:
    """Refuse an encoder whose weights the memory does not hold."""
    needed = 4 * sum(parameter.numel() for parameter in encoder.parameters())
    available = available_bytes(torch.device("cpu"))
    if needed > available:
        raise ModelError(
            f"its weights take {needed / 2**30:,.1f} GiB, of {available / 2**30:,.1f} GiB that are free. "
            "Use a smaller model, or a machine with more memory"
        )


def _require_drawable(carried: Mapping[str, Any]) -> None:
    """Refuse to draw positions at random where the family computes them."""
    if carried.get("sinusoidal_pos_embds"):
        raise ModelError("sinusoidal_pos_embds is true, which --from-scratch does not have. Set it to false")


def _print_error(line: str) -> None:
    print(line, file=sys.stderr)
