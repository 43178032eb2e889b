"""``albertqa export``: a trained model as ONNX, or as a page that reads by itself, with what it loses measured."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import DataConfig, DeviceConfig, Switch, flag
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import SettingsError


@dataclass(frozen=True)
class Export:
    """Export a trained model as ONNX or as a page, and measure what it loses before handing it out."""

    model: Positional[Annotated[str, flag(metavar="MODEL")]]
    """Run directory (its best/), model folder, or Hub name."""
    output: Annotated[Path, flag(metavar="FOLDER")] = Path("exported")
    """The folder to write; one of an earlier export is replaced."""
    format: Literal["onnx", "onnx-int8", "browser"] = "onnx"
    """`onnx`: as trained, in fp32; `onnx-int8`: an int8 file beside it, a quarter of the size or less; `browser`: a
    folder for any web server, in which the model runs on the visitor's machine."""
    int8: Annotated[Literal["faithful", "fast"] | None, flag()] = None
    """`faithful`: nearly the same answers, computed in fp32; `fast`: faster, with more answers changed; unset:
    faithful, and fast for the browser."""
    data: Annotated[tuple[str, ...], flag(metavar="FILE ...")] = ()
    """Data with golds to measure int8 on; unset: the run's validation data."""
    max_f1_loss: Annotated[float | None, flag()] = None
    """Points of F1 that int8 may lose, else nothing is exported; unset: 0.5, and 1 for `fast`."""
    max_eval_examples: Annotated[int | None, flag("max-eval-samples")] = None
    """Measure on only the first so many questions."""
    num_threads: Annotated[int | None, flag()] = None
    """CPU threads; unset: the libraries' choice."""
    npm_folder: Annotated[Path | None, flag(metavar="FOLDER")] = None
    """For the browser: a node_modules folder with onnxruntime-web; unset: npm downloads it once."""
    json: Switch = False
    """Print what was exported as JSON."""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""

    def run(self) -> int:
        """Export, and print what was measured."""
        from albertqa.cli.terminal import Terminal
        from albertqa.serve.ask_page import static_page_html

        DataConfig(max_eval_examples=self.max_eval_examples).check()
        DeviceConfig(num_threads=self.num_threads).check()
        if self.max_f1_loss is not None and not 0 <= self.max_f1_loss <= 100:
            raise SettingsError(f"--max-f1-loss: expected from 0 to 100, found {self.max_f1_loss}")
        try:
            from albertqa.export.exporting import export
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"export: {error.name} is not installed. Run: pip install 'albertqa[export]'"
            ) from error
        terminal = Terminal(stderr=self.json)
        exported = export(
            self.model,
            self.output,
            form=self.format,
            int8=self.int8,
            data=self.data,
            max_f1_loss=self.max_f1_loss,
            limit=self.max_eval_examples,
            options=self.table,
            num_threads=self.num_threads,
            npm_folder=self.npm_folder,
            page_html=static_page_html,
            say=terminal.say,
        )
        if self.json:
            print_json(exported.to_json())
        else:
            terminal.say(f"{exported.folder}: exported; what was measured is in its README.md")
            if self.format == "browser":
                terminal.say(f"look at it: python -m http.server --directory {exported.folder}")
            else:
                terminal.say(f"ask it: albertqa answer {exported.folder} --question '…' --context '…'")
        return 0
