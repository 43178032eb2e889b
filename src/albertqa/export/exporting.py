"""Export a trained model: load it, write it, measure it, and put it into its place only if it is as it should be."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx

from albertqa.config import DeviceConfig
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.raw_rows import ReadOptions
from albertqa.data.reading import load_several
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import Reader, load_reader
from albertqa.errors import ModelError, SettingsError
from albertqa.export.browser import require_known_tokenizer, runtime_files, write_page
from albertqa.export.gate import LIMITS, Answered, Limits, Measured, Questions, answer_all, write_within_limits
from albertqa.export.graph import build_graph
from albertqa.export.onnx_card import card
from albertqa.files import RUN_JSON, model_folder, write_folder, write_text
from albertqa.model.load import SpanModel, resolve_model
from albertqa.model.onnx_model import FOLDER, QUANTIZED, WHOLE, Kind, OnnxModel, has_onnx
from albertqa.model.weights import CONFIG_JSON, read_config
from albertqa.rundir.run_json import read_run_json
from albertqa.windows.build import build_windows, windows_in_memory

Format: TypeAlias = Literal["onnx", "onnx-int8", "browser"]
Int8: TypeAlias = Literal["faithful", "fast"]

_README = "README.md"
_MOST_DIFFERENCE = 1e-3
_TEXT = "The first river is wide. Alfred swam in the second river in 1066, and Rollo walked beside it. " * 6


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: Where it is.
        measured: Its files and what they score; the first is the one in fp32, whether it was kept or not.
        difference: Largest difference between logits of PyTorch and of ONNX Runtime in fp32.
    """

    folder: Path
    measured: tuple[Measured, ...]
    difference: float

    def to_json(self) -> dict[str, Any]:
        """Return it as a plain dictionary."""
        return {
            "folder": str(self.folder),
            "difference": self.difference,
            "files": [asdict(one) for one in self.measured],
        }


def export(
    source: str | Path,
    output: Path,
    *,
    form: Format = "onnx",
    int8: Int8 | None = None,
    data: Sequence[str] = (),
    max_f1_loss: float | None = None,
    least_same_percent: float | None = None,
    limit: int | None = None,
    options: ReadOptions | None = None,
    num_threads: int | None = None,
    npm_folder: Path | None = None,
    page_html: Callable[[str], str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Export a trained model.

    Args:
        source: Run directory (its ``best/``), Transformers folder, or Hub name.
        output: The folder to write; one that an earlier export wrote is replaced.
        form: ``onnx`` (fp32), ``onnx-int8``, or ``browser``.
        int8: Form of int8; None: ``faithful``, and ``fast`` for the browser.
        data: Data with golds to measure on; none: the run's validation data.
        max_f1_loss: Points of F1 that int8 may lose; None: as in `LIMITS`.
        least_same_percent: Least share of the questions with the same span as in fp32; None: as in `LIMITS`.
        limit: Measure on only the first so many questions.
        options: How to read the data.
        num_threads: CPU threads; None: the libraries' choice.
        npm_folder: For the browser: where ONNX Runtime Web is (see `runtime_files`).
        page_html: For the browser: returns the page around the JavaScript of its backend.
        say: Takes lines about what was measured.

    Returns:
        What was exported.

    Raises:
        AlbertQAError: The model cannot be exported or loses too much, or there is nothing to measure it on; the folder
            is as it was.
    """
    output = Path(output)
    if output.exists() and not has_onnx(output) and not (output.is_dir() and not any(output.iterdir())):
        raise SettingsError(f"{output}: is there already, and is no exported model. Choose another --output")
    folder = Path(resolve_model(model_folder(source)))
    try:
        # What no export can have is said before what may merely be missing.
        read_config(folder)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    computing = DeviceConfig(device="cpu", mixed_precision="no", num_threads=num_threads)
    reader = load_reader(source, computing, backend="torch")
    model = reader.model
    assert isinstance(model, SpanModel)
    kind: Kind = "fp32" if form == "onnx" else int8 or ("fast" if form == "browser" else "faithful")
    runtime = None
    if form == "browser":
        require_known_tokenizer(reader)
        runtime = runtime_files(npm_folder)
    questions = _questions(source, reader, data, limit, options or ReadOptions())
    if questions is None and kind != "fp32":
        raise SettingsError(f"{source}: has no validation data that int8 could be measured on. Give some with --data")
    limits = LIMITS.get(kind)
    if limits is not None:
        limits = Limits(
            limits.f1_loss if max_f1_loss is None else max_f1_loss,
            limits.same_percent if least_same_percent is None else least_same_percent,
        )
    work = _Work(model, reader, questions, partial(OnnxModel, device="cpu", num_threads=num_threads), say)
    exported: list[Exported] = []

    def write(building: Path) -> None:
        (building / FOLDER).mkdir()
        difference, measured, whole = work.write_whole(building / FOLDER / WHOLE)
        if limits is not None:
            measured.append(work.write_int8(kind, building / FOLDER / QUANTIZED, whole, limits))
        shutil.copyfile(folder / CONFIG_JSON, building / CONFIG_JSON)
        reader.tokenizer.save(building)
        reader.settings.save(building)
        text = card(output.name, model.family.model_type, measured, questions, difference)
        write_text(building / _README, text)
        if runtime is not None and page_html is not None:
            # A visitor would load what is never used.
            (building / FOLDER / WHOLE).unlink()
            write_page(building, reader, output.name, runtime, page_html)
        exported.append(Exported(output, tuple(measured), difference))

    output.parent.mkdir(parents=True, exist_ok=True)
    write_folder(output, write)
    return exported[0]


@dataclass(frozen=True)
class _Work:
    """What the files of an export are made of and measured with."""

    model: SpanModel
    reader: Reader
    questions: Questions | None
    open_model: Callable[[Path], OnnxModel]
    say: Callable[[str], None]

    def write_whole(self, path: Path) -> tuple[float, list[Measured], Answered | None]:
        """Write the model in fp32; return the largest difference of its logits, and what it scores."""
        onnx.save(build_graph(self.model), path)
        exported = self.open_model(path)
        difference = self._difference(exported)
        if not difference <= _MOST_DIFFERENCE:
            raise ModelError(
                f"{self.reader.source}: the exported model's logits differ from PyTorch's by {difference:.2g}, "
                f"expected at most {_MOST_DIFFERENCE:g}. Nothing was exported; please report it"
            )
        if self.questions is None:
            return difference, [], None
        answered = answer_all(exported, self.questions)
        measured = Measured("fp32", (), path.stat().st_size / 1e6, answered.exact, answered.f1)
        self.say(measured.row)
        return difference, [measured], answered

    def write_int8(self, kind: Kind, path: Path, whole: Answered | None, limits: Limits) -> Measured:
        """Write the model in int8."""
        assert self.questions is not None
        assert whole is not None
        return write_within_limits(
            *(self.model, kind, path, self.questions, whole, limits), open_model=self.open_model, say=self.say
        )

    def _difference(self, exported: OnnxModel) -> float:
        """Return the largest difference between the logits of windows of several lengths, in one batch."""
        settings = self.reader.settings
        examples = [Example(str(part), "Who swam?", _TEXT[: len(_TEXT) // part]) for part in range(1, 6)]
        store = windows_in_memory(
            examples, self.reader.tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
        ours, theirs = (run_windows(model, store).logits for model in (self.model, exported))
        return float(max(np.abs(ours.start - theirs.start).max(), np.abs(ours.end - theirs.end).max()))


def _questions(
    source: str | Path, reader: Reader, data: Sequence[str], limit: int | None, options: ReadOptions
) -> Questions | None:
    """Return the questions to measure on: those given, or the run's validation data; None where there are none."""
    sources, most = list(data), limit
    if not sources and (Path(source) / RUN_JSON).is_file():
        facts = read_run_json(Path(source)).data.validation
        sources, most = facts.sources, min(limit or facts.questions, facts.questions)
    if not sources:
        return None
    examples = load_several(sources, limit=most, options=options)
    settings = reader.settings
    store = build_windows(
        examples, reader.tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
    )
    version_2 = bool(settings.version_2_with_negative) or has_unanswerable(examples)
    return Questions(examples, store, settings, version_2, ", ".join(sources))
