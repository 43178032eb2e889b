"""An exported model in ONNX Runtime; PyTorch is not loaded.

A file of `albertqa export` says in its own metadata what it is. Any other ONNX file is refused: its inputs, its outputs
and what they mean would have to be guessed.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from albertqa.errors import ModelError
from albertqa.files import fetch_folder, first_line
from albertqa.model.window_model import WindowModel, WindowScores
from albertqa.windows.batches import WindowSource

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Kind: TypeAlias = Literal["fp32", "faithful", "fast"]
"""Forms of the matrices of an exported file (see `albertqa.export.matrices`)."""
FORMAT = 1
"""Of the files that `albertqa export` writes; another number means another meaning."""
FOLDER = "onnx"
WHOLE, QUANTIZED = "model.onnx", "model_quantized.onnx"
"""The names that Transformers.js knows in `FOLDER`."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("start_logits", "end_logits")

_HUB_FILES = ("*.json", f"{FOLDER}/*.onnx")
_PREFIX = "albertqa."
# ONNX Runtime has no exception of its own for it.
_OUT_OF_MEMORY = re.compile("Failed to allocate memory|bad_alloc|out of memory", re.IGNORECASE)
_FAILURES = (
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)
_FATAL = 4


@dataclass(frozen=True)
class Facts:
    """What an exported file says of itself.

    Attributes:
        format: See `FORMAT`.
        kind: Form of its matrices.
        max_positions: Longest window, in tokens.
        vocab_size: Rows of its word embeddings.
    """

    format: int
    kind: Kind
    max_positions: int
    vocab_size: int

    def to_metadata(self) -> dict[str, str]:
        """Return the facts as the metadata of an ONNX file."""
        return {f"{_PREFIX}{name}": str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Path) -> "Facts":
        """Read the facts from a file's metadata.

        Raises:
            ModelError: They are missing, or of another format.
        """
        stated = {name.removeprefix(_PREFIX): value for name, value in metadata.items() if name.startswith(_PREFIX)}
        found = stated.get("format")
        again = "Export the model again: albertqa export RUN --output FOLDER"
        if found is None:
            raise ModelError(f"{path}: was not written by 'albertqa export', so what it computes is not known. {again}")
        if found != str(FORMAT):
            raise ModelError(f"{path}: is of export format {found}, this version reads {FORMAT}. {again}")
        try:
            return msgspec.convert(stated, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ModelError(f"{path}: its metadata is damaged ({first_line(error)}). {again}") from error


def has_onnx(folder: Path) -> bool:
    """Report whether a folder has an exported model."""
    return any((folder / FOLDER / name).is_file() for name in (QUANTIZED, WHOLE))


def resolve_onnx(source: str | Path) -> Path:
    """Return the local folder of an exported model; a Hub name is downloaded.

    Raises:
        ModelError: There is no exported model.
    """
    folder = Path(source)
    if not folder.exists():
        folder = fetch_folder(
            str(source),
            _HUB_FILES,
            error_type=ModelError,
            expected="folder",
            remedy="Give a folder that 'albertqa export' wrote, or connect to a network",
        )
    if not has_onnx(folder):
        raise ModelError(
            f"{source}: no {FOLDER}/{QUANTIZED} and no {FOLDER}/{WHOLE} there, expected an exported model. "
            f"Export it: albertqa export {source} --output FOLDER"
        )
    return folder


class OnnxModel(WindowModel):
    """An exported model; `facts` are what its file says.

    Args:
        path: Folder with ``onnx/model_quantized.onnx`` or, where that is missing, ``onnx/model.onnx``; or such a file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes a GPU where ONNX Runtime was built with one.
        num_threads: CPU threads of this model; None: ONNX Runtime's choice.

    Raises:
        ModelError: The file is damaged, or not of `albertqa export`; ONNX Runtime or the device is missing.
    """

    def __init__(self, path: Path, *, device: str = "auto", num_threads: int | None = None) -> None:
        if path.is_dir():
            path = next(path / FOLDER / name for name in (QUANTIZED, WHOLE) if (path / FOLDER / name).is_file())
        self._session = _open(path, device, num_threads)
        self.facts = Facts.from_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        self.max_positions, self.vocab_size = self.facts.max_positions, self.facts.vocab_size
        # The fast form rounds a layer's input by the largest value of the whole batch.
        self.depends_on_batch = self.facts.kind == "fast"
        self._inputs = {one.name for one in self._session.get_inputs()}

    def score_windows(self, source: WindowSource, indices: NDArray[np.int64]) -> WindowScores | None:
        """See `WindowModel`."""
        from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

        windows = [source[int(index)] for index in indices]
        lengths = [len(window.input_ids) for window in windows]
        input_ids, mask, segments = (np.zeros((len(windows), max(lengths)), dtype=np.int64) for _ in INPUTS)
        for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
            input_ids[row, :length], segments[row, :length] = window.input_ids, window.token_type_ids
            mask[row, :length] = 1
        feeds = dict(zip(INPUTS, (input_ids, mask, segments), strict=True))
        try:
            start, end = self._session.run(OUTPUTS, {name: feeds[name] for name in self._inputs})
        except (RuntimeException, MemoryError) as error:
            if isinstance(error, RuntimeException) and not _OUT_OF_MEMORY.search(str(error)):
                raise
            return None
        is_token = mask == 1
        labels = np.asarray([[window.start_position, window.end_position] for window in windows])
        losses = (_cross_entropy(start, is_token, labels[:, 0]) + _cross_entropy(end, is_token, labels[:, 1])) / 2
        return WindowScores(start[is_token], end[is_token], losses)


def _cross_entropy(
    logits: NDArray[np.float32], is_token: NDArray[np.bool_], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each window's cross entropy over its own tokens: (W, T), (W, T), (W,) -> (W,)."""
    rows = np.where(is_token, logits.astype(np.float64), -np.inf)
    most = rows.max(axis=1)
    log_sums: NDArray[np.float64] = most + np.log(np.exp(rows - most[:, None]).sum(axis=1))
    return log_sums - rows[np.arange(len(rows)), labels]


def _open(path: Path, device: str, num_threads: int | None) -> "InferenceSession":
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures
    except ImportError as error:
        raise ModelError(f"{path}: ONNX Runtime is not installed. Run: pip install 'albertqa[export]'") from error
    options = onnxruntime.SessionOptions()
    # What goes wrong is raised; its log would come between our lines.
    options.log_severity_level = _FATAL
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except tuple(getattr(failures, name) for name in _FAILURES) as error:
        reason = first_line(error).partition(" : ")[2][:200] or first_line(error)[:200]
        raise ModelError(f"{path}: cannot be opened ({reason}). Export the model again: albertqa export") from error


def _providers(device: str, available: list[str]) -> list[Any]:
    """Return what ONNX Runtime calls a device, the CPU behind it."""
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    kind, _, number = device.partition(":")
    if kind not in {"auto", "cpu", "cuda"} or not (number.isdecimal() or not number):
        raise ModelError(f"device is '{device}', expected auto, cpu, cuda or cuda:N for an exported model")
    if kind == "cuda" and cuda not in available:
        raise ModelError(f"device is '{device}', but this ONNX Runtime has no CUDA. Use --device cpu")
    if kind == "cpu" or cuda not in available:
        return [cpu]
    return [(cuda, {"device_id": int(number or 0)}), cpu]
