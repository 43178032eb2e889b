"""A checkpoint is whole or is not looked at, and what is loaded from it is what was saved, bit by bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertForQuestionAnswering

from albertqa import files
from albertqa.errors import RunError
from albertqa.model.load import SpanModel
from albertqa.run import checkpoint
from albertqa.run.checkpoint import (
    MANIFEST_JSON,
    OPTIMIZER,
    STATE_JSON,
    WEIGHTS,
    Adaptation,
    BestModel,
    Progress,
    TrainState,
    load_checkpoint,
    newest_checkpoint,
)
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer
from model.cases import save_albert

from .cases import Listener, go_on, open_model, save
from .reference import Course

COURSE = Course(total_steps=6)
FILES = [MANIFEST_JSON, STATE_JSON, OPTIMIZER, WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"]
PROGRESS = Progress(
    TrainState(step=3, seconds=1.5),
    BestModel(best_value=12.5, best_step=2, evaluations_since_best=1),
    Adaptation(micro_batch=4),
    metrics_bytes=77,
    augmentation={"crop": {"seen": 1, "changed": 0, "impossible": 1}},
)


@pytest.fixture(scope="module")
def trained(tiny_weights: Path, store: WindowStore) -> tuple[SpanModel, torch.optim.Optimizer]:
    """A model with dropout and its optimizer, three steps on."""
    model, optimizer = open_model(tiny_weights, COURSE, hidden_dropout=0.1)
    torch.manual_seed(7)
    go_on(model, optimizer, store, COURSE, Listener(stop_after=3))
    return model, optimizer


@pytest.fixture(scope="module")
def two_saved(
    trained: tuple[SpanModel, torch.optim.Optimizer], tokenizer: QATokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run directory with checkpoints at steps 3 and 6."""
    run = tmp_path_factory.mktemp("run")
    for step in (3, 6):
        save(run, Progress(TrainState(step=step)), trained[0], tokenizer, trained[1], keep=2)
    return run


@pytest.fixture
def run(two_saved: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(two_saved, tmp_path / "run"))


def checkpoints_of(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_what_is_loaded_is_bit_equal_to_what_was_saved(
    trained: tuple[SpanModel, torch.optim.Optimizer], tokenizer: QATokenizer, tiny_weights: Path, tmp_path: Path
) -> None:
    model, optimizer = trained
    torch.manual_seed(123)
    folder = save(tmp_path, PROGRESS, model, tokenizer, optimizer, keep=1)
    drawn = torch.rand(5)
    assert folder == tmp_path / "checkpoints" / "step-00000003"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)

    other, other_optimizer = open_model(tiny_weights, COURSE, hidden_dropout=0.1)
    assert load_checkpoint(folder, other, other_optimizer) == PROGRESS
    assert torch.equal(torch.rand(5), drawn)
    parameters = dict(model.model.named_parameters())
    assert len(parameters) == len(other_optimizer.state) == len(optimizer.state)
    for name, parameter in other.model.named_parameters():
        assert torch.equal(parameter, parameters[name])
        state, expected = other_optimizer.state[parameter], optimizer.state[parameters[name]]
        assert state.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(state[key], value)
            assert (state[key].dtype, state[key].device) == (value.dtype, value.device)


def test_a_course_cut_in_two_is_bit_equal_to_the_whole(
    tiny_weights: Path, store: WindowStore, tokenizer: QATokenizer, tmp_path: Path
) -> None:
    def weights_of(model: SpanModel) -> dict[str, torch.Tensor]:
        return {name: one.detach().clone() for name, one in model.model.named_parameters()}

    torch.manual_seed(7)
    whole, optimizer = open_model(tiny_weights, COURSE, hidden_dropout=0.1)
    listener = Listener()
    go_on(whole, optimizer, store, COURSE, listener)

    torch.manual_seed(7)
    first, optimizer = open_model(tiny_weights, COURSE, hidden_dropout=0.1)
    first_listener, second_listener = Listener(stop_after=2), Listener()
    state = go_on(first, optimizer, store, COURSE, first_listener)
    folder = save(tmp_path, state, first, tokenizer, optimizer, keep=1)
    torch.manual_seed(99)
    second, optimizer = open_model(tiny_weights, COURSE, hidden_dropout=0.1)
    go_on(second, optimizer, store, COURSE, second_listener, load_checkpoint(folder, second, optimizer))

    rows = first_listener.rows + second_listener.rows
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in listener.rows]
    expected = weights_of(whole)
    assert all(torch.equal(one, expected[name]) for name, one in weights_of(second).items())


def test_a_checkpoint_is_a_transformers_model_folder(run: Path) -> None:
    _, info = AlbertForQuestionAnswering.from_pretrained(
        run / "checkpoints" / "step-00000006", output_loading_info=True
    )
    assert not any(info.values())


def test_the_newest_checkpoint_is_taken(run: Path) -> None:
    assert newest_checkpoint(run) == (run / "checkpoints" / "step-00000006", [])


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == (None, [])
    (tmp_path / "checkpoints").mkdir()
    assert newest_checkpoint(tmp_path) == (None, [])


def flip_first(path: Path) -> None:
    flip(path, 0)


def flip_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def flip_last(path: Path) -> None:
    flip(path, path.stat().st_size - 1)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_first, flip_middle, flip_last, truncate, empty, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run: Path, name: str, damage: Any) -> None:
    newest = run / "checkpoints" / "step-00000006"
    damage(newest / name)
    found, warnings = newest_checkpoint(run)
    if name == MANIFEST_JSON and damage is truncate:
        # All it lost is the line feed behind the last brace.
        assert (found, warnings) == (newest, [])
        return
    assert found == run / "checkpoints" / "step-00000003"
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{newest}: ")
    assert warnings[0].endswith("; passed over")
    if name != MANIFEST_JSON:
        assert f": {name} " in warnings[0]


def test_where_all_are_damaged_there_is_none(run: Path) -> None:
    for folder in (run / "checkpoints").iterdir():
        (folder / WEIGHTS).unlink()
    found, warnings = newest_checkpoint(run)
    assert found is None
    assert len(warnings) == 2


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"model.safetensors": 1}'])
def test_a_manifest_of_another_form_makes_no_checkpoint(run: Path, content: str) -> None:
    (run / "checkpoints" / "step-00000006" / MANIFEST_JSON).write_text(content)
    assert newest_checkpoint(run)[0] == run / "checkpoints" / "step-00000003"


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_are_kept(
    keep: int, trained: tuple[SpanModel, torch.optim.Optimizer], tokenizer: QATokenizer, tmp_path: Path
) -> None:
    for step in (1, 2, 10, 11, 100):
        save(tmp_path, Progress(TrainState(step=step)), trained[0], tokenizer, trained[1], keep=keep)
    assert checkpoints_of(tmp_path) == [f"step-{step:08d}" for step in (1, 2, 10, 11, 100)][-keep:]


def test_damaged_newer_ones_do_not_push_out_the_one_just_written(
    run: Path, trained: tuple[SpanModel, torch.optim.Optimizer], tokenizer: QATokenizer
) -> None:
    (run / "checkpoints" / "step-00000006" / WEIGHTS).unlink()
    saved = save(run, Progress(TrainState(step=4)), trained[0], tokenizer, trained[1], keep=1)
    assert newest_checkpoint(run) == (saved, [])
    assert checkpoints_of(run) == ["step-00000004"]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (SpanModel, "save"),
        (QATokenizer, "save"),
        (checkpoint, "save_file"),
        (checkpoint, "file_sha256"),
        (checkpoint, "write_json"),
        (files, "sync_folder"),
        (Path, "rename"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_a_crash_while_writing_leaves_the_older_ones_and_nothing_else(
    run: Path,
    trained: tuple[SpanModel, torch.optim.Optimizer],
    tokenizer: QATokenizer,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    before = checkpoints_of(run)
    with monkeypatch.context() as patched:
        patched.setattr(place, name, full_disk)
        with pytest.raises(OSError, match="No space left"):
            save(run, Progress(TrainState(step=9)), trained[0], tokenizer, trained[1], keep=1)
    assert checkpoints_of(run) == before
    assert newest_checkpoint(run) == (run / "checkpoints" / "step-00000006", [])


def test_what_a_killed_process_left_is_neither_used_nor_in_the_way(
    run: Path, trained: tuple[SpanModel, torch.optim.Optimizer], tokenizer: QATokenizer
) -> None:
    debris = run / "checkpoints" / ".step-00000009.building"
    shutil.copytree(run / "checkpoints" / "step-00000006", debris)
    (debris / "leftover").write_text("of a killed process")
    assert newest_checkpoint(run) == (run / "checkpoints" / "step-00000006", [])
    saved = save(run, Progress(TrainState(step=9)), trained[0], tokenizer, trained[1], keep=2)
    assert checkpoints_of(run) == ["step-00000006", "step-00000009"]
    assert sorted(path.name for path in saved.iterdir()) == sorted(FILES)


def test_a_step_saved_again_replaces_the_one_before(
    run: Path, trained: tuple[SpanModel, torch.optim.Optimizer], tokenizer: QATokenizer
) -> None:
    saved = save(run, Progress(TrainState(step=6, seconds=9.0)), trained[0], tokenizer, trained[1], keep=2)
    assert newest_checkpoint(run) == (saved, [])
    assert json.loads((saved / STATE_JSON).read_text())["seconds"] == 9.0


@pytest.mark.parametrize("change", [{"hidden_size": 64, "intermediate_size": 64}, {"num_hidden_groups": 2}], ids=str)
def test_a_checkpoint_of_another_model_is_refused(run: Path, tiny_folder: Path, tmp_path: Path, change: Any) -> None:
    other, optimizer = open_model(save_albert(tiny_folder, tmp_path / "other", **change), COURSE)
    with pytest.raises(RunError, match=r"step-00000006: does not fit this model \(.*\). Start again in another"):
        load_checkpoint(run / "checkpoints" / "step-00000006", other, optimizer)


def test_a_state_that_lacks_a_field_is_refused(run: Path, tiny_weights: Path) -> None:
    folder = run / "checkpoints" / "step-00000006"
    (folder / STATE_JSON).write_text('{"step": 6, "mood": "good"}')
    with pytest.raises(RunError, match="seconds"):
        load_checkpoint(folder, *open_model(tiny_weights, COURSE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": "6"}, "expected a number as 'state.step', found \"6\""),
        ({"step": 4}, "is of step-00000004"),
        ({"best_value": []}, "as 'best.best_value'"),
        ({"micro_batch": 0}, "expected a number of 1 or more as 'adaptation.micro_batch', found 0"),
        ({"micro_batch": 1.5}, "as 'adaptation.micro_batch', found 1.5"),
        ({"recompute": "no"}, "expected true or false as 'adaptation.recompute'"),
        ({"metrics_bytes": -1}, "expected a number of 0 or more as 'metrics_bytes', found -1"),
        ({"augmentation": {"crop": {"seen": "x"}}}, "as 'augmentation"),
    ],
    ids=str,
)
def test_a_state_with_wrong_values_is_refused(
    run: Path, tiny_weights: Path, change: dict[str, Any], message: str
) -> None:
    folder = run / "checkpoints" / "step-00000006"
    state = json.loads((folder / STATE_JSON).read_text())
    (folder / STATE_JSON).write_text(json.dumps({**state, **change}))
    with pytest.raises(RunError) as caught:
        load_checkpoint(folder, *open_model(tiny_weights, COURSE))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("moment", ["step", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("change", [lambda one: one.half(), lambda one: one[None], lambda one: one.int()])
def test_an_optimizer_state_of_another_shape_or_type_is_refused(
    run: Path, tiny_weights: Path, moment: str, change: Any
) -> None:
    folder = run / "checkpoints" / "step-00000006"
    tensors = load_file(folder / OPTIMIZER)
    name = next(name for name in tensors if name.startswith(f"{moment}/"))
    save_file({**tensors, name: change(tensors[name])}, folder / OPTIMIZER)
    with pytest.raises(RunError, match=rf"{moment} of .*: expected \[.*\] in fp32, found"):
        load_checkpoint(folder, *open_model(tiny_weights, COURSE))
