"""Build or load an encoder with a span head, and refuse one whose weights were not really loaded."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from albertqa.errors import ModelError, SettingsError
from albertqa.files import fetch_folder, first_line, make_readable
from albertqa.model.packed import span_logits, use_packed_attention
from albertqa.model.processor import read_processor
from albertqa.model.starter import STARTER, starter_encoder
from albertqa.windows.batches import PackedBatch

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# One kernel for the same function that `gelu_new` computes in a chain of operations.
_SAME_FUNCTION = {"gelu_new": "gelu_pytorch_tanh"}

_HUB_FILES = ("*.json", "*.safetensors", "spiece.model", "vocab.txt", "merges.txt")


@dataclass
class SpanModel:
    """An encoder with a span head, ready for packed batches.

    Attributes:
        model: The Transformers model, on its device.
        device: Where it computes.
        autocast_dtype: Type of the matrix products, or None for the weights' own (fp32).
        has_segments: Whether the encoder knows segment ids.
        hidden_act: The activation's name as the model's own config has it.
    """

    model: "PreTrainedModel"
    device: torch.device
    autocast_dtype: torch.dtype | None
    has_segments: bool
    hidden_act: str | None

    @property
    def max_positions(self) -> int:
        """Longest window the encoder has positions for, in tokens."""
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 30)) - self.first_position

    @property
    def first_position(self) -> int:
        """Position id of a window's first token: RoBERTa-like encoders number positions from behind the padding id."""
        config = self.model.config
        return config.pad_token_id + 1 if config.model_type in {"roberta", "xlm-roberta", "camembert"} else 0

    def require_positions(self, max_seq_length: int, source: str) -> None:
        """Refuse windows that the encoder has no positions for.

        Args:
            max_seq_length: Most tokens of a window.
            source: What the user called the model.

        Raises:
            SettingsError: There are too few.
        """
        if max_seq_length > self.max_positions:
            raise SettingsError(
                f"max_seq_length is {max_seq_length}, but {source} has positions for only {self.max_positions} tokens. "
                f"Use --max-seq-length {self.max_positions}"
            )

    def logits(self, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Score every token as start and as end (see `albertqa.model.packed.span_logits`).

        Shapes:
            returns: two of (T,) float32
        """
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None):
            return span_logits(
                self.model,
                batch,
                precision=self.autocast_dtype,
                has_segments=self.has_segments,
                first_position=self.first_position,
            )

    def save(self, folder: Path) -> None:
        """Write config and safetensors that `AutoModelForQuestionAnswering.from_pretrained` opens."""
        with _quiet_transformers():
            self.model.save_pretrained(folder)
        for weights in folder.glob("*.safetensors"):
            make_readable(weights)
        config = copy.deepcopy(self.model.config)
        if self.hidden_act is not None:
            config.hidden_act = self.hidden_act
        config.save_pretrained(folder)


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
) -> SpanModel:
    """Load an encoder for question answering.

    Args:
        source: Local folder, Hub name, or ``starter``.
        device: Where it shall compute.
        precision: Type of the matrix products (see `choose_precision`).
        from_scratch: Take only the configuration and draw random weights.
        needs_head: Refuse a model without a trained span head, too.
        hidden_dropout: Dropout of hidden states instead of the config's.
        attention_dropout: Dropout of attention probabilities instead of the config's.
        head_dropout: Dropout before the span head.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelError: It cannot be found or opened, or some weights were not in it.
    """
    from transformers import AutoModelForQuestionAnswering

    folder = resolve_model(source)
    with _quiet_transformers():
        config = _load_config(folder, str(source))
        hidden_act = getattr(config, "hidden_act", None)
        if hidden_act in _SAME_FUNCTION:
            config.hidden_act = _SAME_FUNCTION[hidden_act]
        _override(config, {"hidden_dropout_prob": hidden_dropout, "attention_probs_dropout_prob": attention_dropout})
        try:
            if from_scratch:
                model = AutoModelForQuestionAnswering.from_config(config)
            else:
                model, info = AutoModelForQuestionAnswering.from_pretrained(
                    folder, config=config, output_loading_info=True, use_safetensors=True
                )
                _refuse_missing_weights(info, str(source), needs_head=needs_head)
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"{source}: cannot be opened as a model: {first_line(error)}") from error
        except SafetensorError as error:
            raise ModelError(f"{source}: model.safetensors is damaged: {first_line(error)}") from error
    if head_dropout:
        _drop_before_head(model, head_dropout)
    use_packed_attention(model)
    model.to(device).eval()
    has_segments = getattr(config, "type_vocab_size", 0) >= 2
    return SpanModel(model, device, precision, has_segments, hidden_act)


def resolve_model(source: str | Path) -> str:
    """Give the local folder of a model, fetching a Hub name if it must.

    Args:
        source: Local folder, Hub name, or ``starter``.

    Returns:
        A folder.

    Raises:
        ModelError: It is not there and cannot be fetched.
    """
    if str(source) == STARTER:
        return str(starter_encoder())
    if Path(source).is_dir():
        if not (Path(source) / "config.json").is_file():
            raise ModelError(f"{source}: no config.json there, expected a Transformers model folder")
        return str(source)
    if Path(source).exists():
        raise ModelError(f"{source}: is a file, expected a Transformers model folder or a Hub name")
    fetched = fetch_folder(
        str(source),
        _HUB_FILES,
        error_type=ModelError,
        expected="folder",
        remedy="Give a local folder with the model, connect to a network, or try offline with --model starter",
    )
    return str(fetched)


def choose_device(name: str) -> torch.device:
    """Turn a device setting into a device that is there.

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
    """Turn a precision setting into the type of the matrix products.

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
    """Tell whether a device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and read_processor().has_bf16


def _load_config(folder: str, source: str) -> "PretrainedConfig":
    from transformers import AutoConfig

    try:
        json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        config: PretrainedConfig = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{source}: config.json cannot be used: {first_line(error)}") from error
    return config


def _override(config: "PretrainedConfig", values: dict[str, float | None]) -> None:
    for name, value in values.items():
        if value is None:
            continue
        if not hasattr(config, name):
            raise ModelError(f"{config.model_type}: this encoder has no {name} to set")
        setattr(config, name, value)


def _refuse_missing_weights(info: dict[str, Any], source: str, *, needs_head: bool) -> None:
    """Refuse a model of which some tensors were drawn at random without a word."""
    missing = sorted(info["missing_keys"])
    head = [name for name in missing if name.startswith("qa_outputs.")]
    encoder = [name for name in missing if name not in head]
    if encoder:
        some = ", ".join(encoder[:3]) + (f" and {len(encoder) - 3} more" if len(encoder) > 3 else "")
        raise ModelError(
            f"{source}: {len(encoder)} encoder weights are not in the model files: {some}. "
            "Give the right model, or train from random weights with --from-scratch"
        )
    if head and needs_head:
        raise ModelError(
            f"{source}: has no trained span head (qa_outputs). Train it first: albertqa train --model {source}"
        )


def _drop_before_head(model: "PreTrainedModel", probability: float) -> None:
    """Drop hidden states before the span head; a hook, so that the saved names stay Transformers' own."""

    def drop(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (torch.nn.functional.dropout(inputs[0], probability, module.training), *inputs[1:])

    model.get_submodule("qa_outputs").register_forward_pre_hook(drop)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep Transformers' progress bars and load report off the terminal: missing weights are our own error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
