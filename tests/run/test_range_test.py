"""The range test: its ramp is exact, it leaves no trace, and it suggests what trains, or nothing."""

import dataclasses
import json
import math
import random
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa import cli
from albertqa.config import MonitoringConfig, OptimizerConfig, Settings
from albertqa.data.reading import load_examples
from albertqa.errors import AlbertQAError, DataError, RunError, SettingsError
from albertqa.model.load import SpanModel, load_model
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import Adaptation, TrainState
from albertqa.run.display import TerminalDisplay
from albertqa.run.loop import TrainingWindows, plan_steps, train_steps
from albertqa.run.objective import span_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.run.range_chart import draw_range
from albertqa.run.range_curve import RangeTest, has_diverged, judge, smooth, spell_rate
from albertqa.run.range_test import (
    RANGE_JSON,
    RANGE_SVG,
    find_lr,
    ramp_factor,
    ramp_steps,
    restored,
    run_range_test,
    train_command,
)
from albertqa.run.step import Stepper
from albertqa.rundir.rows import StepRow
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import load_tokenizer
from model.cases import save_albert
from run.cases import Listener

CONFIG = OptimizerConfig(train_batch_size=8, seed=3, learning_rate=1e-3)
RAMP = {"min_lr": 1e-5, "max_lr": 1e3, "num_steps": 100}
Opened = tuple[SpanModel, torch.optim.AdamW]
Draw = tuple[list[float], list[float]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A tiny ALBERT with random weights."""
    return save_albert(tiny_folder, tmp_path_factory.mktemp("range-weights"), initializer_range=0.02)


@pytest.fixture(scope="module")
def store(tiny_folder: Path) -> WindowStore:
    """Windows for at least 100 steps of 8."""
    examples = load_examples("starter:train", limit=150)
    found = windows_in_memory(examples, load_tokenizer(tiny_folder), max_seq_length=96, doc_stride=32)
    assert len(found) >= 8 * RAMP["num_steps"]
    return found


def opened(weights: Path, **changes: Any) -> Opened:
    model = load_model(weights, device=torch.device("cpu"), **changes)
    return model, build_optimizer(model.model, CONFIG)


@pytest.fixture(scope="module")
def tiny_test(weights: Path, store: WindowStore) -> RangeTest:
    """The range test of the tiny ALBERT."""
    return range_test(opened(weights), store, **RAMP)


def range_test(pair: Opened, store: WindowStore, *, callbacks: Sequence[Callback] = (), **ramp: Any) -> RangeTest:
    """Run a range test and put everything back."""
    stepper = Stepper(*pair, span_objective, CONFIG, Adaptation())
    with restored(*pair):
        return run_range_test(stepper, TrainingWindows(store), CONFIG, callbacks=callbacks, **ramp)


def train_at(
    pair: Opened, store: WindowStore, rate: float, num_steps: int, *, first_step: int = 0
) -> list[dict[str, Any]]:
    """Train at one rate; return the rows."""
    listener = Listener()
    config = replace(CONFIG, learning_rate=rate, lr_scheduler_type="constant", max_steps=first_step + num_steps)
    plan = plan_steps(len(store), config, MonitoringConfig(eval_steps=1e6, save_steps=1e6))
    stepper = Stepper(*pair, span_objective, config, Adaptation())
    train_steps(stepper, TrainingWindows(store), config, plan, TrainState(first_step), callbacks=[listener])
    return listener.rows


# -- the ramp


def test_the_ramp_is_exactly_exponential(tiny_test: RangeTest) -> None:
    rates = np.array(tiny_test.learning_rates)
    assert rates[0] == pytest.approx(RAMP["min_lr"], rel=1e-14)
    ratio = (RAMP["max_lr"] / RAMP["min_lr"]) ** (1 / (RAMP["num_steps"] - 1))
    np.testing.assert_allclose(rates[1:] / rates[:-1], ratio, rtol=1e-13)


@given(st.floats(1e-9, 0.5), st.integers(20, 5000))
def test_the_ramp_ends_at_its_ends(ratio: float, num_steps: int) -> None:
    assert ramp_factor(0, ratio=ratio, num_steps=num_steps) == ratio
    assert ramp_factor(num_steps - 1, ratio=ratio, num_steps=num_steps) == 1.0


def test_no_window_is_seen_twice() -> None:
    assert ramp_steps(1000, step_windows=16, num_steps=100) == 62
    assert ramp_steps(1600, step_windows=16, num_steps=100) == 100
    with pytest.raises(DataError, match=r"300 windows are 18 steps of 16, expected at least 20\. Use more questions"):
        ramp_steps(300, step_windows=16, num_steps=100)


# -- what it leaves behind


def test_everything_is_as_it_was_to_the_bit(weights: Path, store: WindowStore) -> None:
    pair = opened(weights, head_dropout=0.1, hidden_dropout=0.1)
    torch.manual_seed(11)
    train_at(pair, store, 1e-3, 3)
    model, optimizer = pair

    def state() -> tuple[dict[str, torch.Tensor], dict[str, Any], torch.Tensor]:
        moments = {
            f"{number}/{name}": value.clone()
            for number, moments in optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        }
        weights = {name: value.clone() for name, value in model.model.state_dict().items()}
        return weights | moments, optimizer.state_dict()["param_groups"], torch.get_rng_state()

    before, numpy_before, python_before = state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 -- the global state is what is looked at
    precision, mode = model.autocast_dtype, model.model.training
    range_test((model, optimizer), store, **RAMP)
    after = state()
    assert len(before[0]) > 20
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert random.getstate() == python_before
    assert (model.autocast_dtype, model.model.training) == (precision, mode)

    # And so a run goes on as if nothing had been: same windows, same dropout, same losses.
    other = opened(weights, head_dropout=0.1, hidden_dropout=0.1)
    torch.manual_seed(11)
    train_at(other, store, 1e-3, 3)
    expected = [row["train_loss"] for row in train_at(other, store, 1e-3, 3, first_step=3)]
    torch.set_rng_state(after[2])
    assert [row["train_loss"] for row in train_at(pair, store, 1e-3, 3, first_step=3)] == expected


def test_an_interrupt_leaves_everything_as_it_was(weights: Path, store: WindowStore) -> None:
    model, optimizer = opened(weights)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}

    class Interrupting(Callback):
        def on_step(self, row: StepRow) -> None:
            if row.step == 10:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        range_test((model, optimizer), store, callbacks=[Interrupting()], **RAMP)
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert not optimizer.state


def test_its_steps_are_the_runs_own(weights: Path, store: WindowStore) -> None:
    """At a rate too small to matter, the losses are those of the run's first steps."""
    rows = train_at(opened(weights), store, 1e-12, 20)
    test = range_test(opened(weights), store, min_lr=1e-13, max_lr=1e-12, num_steps=20)
    assert test.losses == pytest.approx([row["train_loss"] for row in rows], abs=1e-5)


# -- what it says of a real model


def test_the_suggestion_trains_and_far_from_it_does_not(
    tiny_test: RangeTest, weights: Path, store: WindowStore
) -> None:
    rate = tiny_test.suggestion
    assert rate is not None
    reached = {
        factor: np.mean([row["train_loss"] for row in train_at(opened(weights), store, rate * factor, 60)[-20:]])
        for factor in (1 / 30, 1, 30)
    }
    assert reached[1] < reached[1 / 30] - 0.02
    assert reached[1] < reached[30] - 0.02


def test_divergence_ends_the_ramp(tiny_test: RangeTest) -> None:
    assert tiny_test.diverged is not None
    assert len(tiny_test.losses) < RAMP["num_steps"]
    assert tiny_test.diverged == tiny_test.learning_rates[-1] > 3 * tiny_test.suggestion  # type: ignore[operator]


def test_rates_too_small_to_matter_give_no_suggestion(weights: Path, store: WindowStore) -> None:
    test = range_test(opened(weights), store, min_lr=1e-12, max_lr=1e-9, num_steps=40)
    assert test.suggestion is None
    assert test.diverged is None
    assert test.reason.startswith("No clear descent: the smoothed loss went from ")
    assert "Take more steps (--num-steps) or a larger batch." in test.reason


def test_a_model_that_is_broken_is_refused(weights: Path, store: WindowStore) -> None:
    model, optimizer = opened(weights)
    with torch.no_grad():
        model.model.get_submodule("qa_outputs").weight[0, 0] = math.nan
    with pytest.raises(RunError, match="loss is"):
        range_test((model, optimizer), store, **RAMP)


# -- how it reads a curve


def curve(middle: float, num_steps: int, seed: int, *, noise: float = 0.05, start: float = 5.4) -> Draw:
    """Draw a span loss: level, a fall of 0.8 around 10^middle, back to a guess a decade higher; noisy between."""
    generator = np.random.default_rng(seed)
    power = np.linspace(-7, -1, num_steps)
    down = 1 / (1 + np.exp(-(power - middle) / 0.12))
    back = 1 / (1 + np.exp(-(power - middle - 1) / 0.08))
    losses = (
        start - 0.8 * down * (1 - back) + noise * generator.standard_normal(num_steps) * (1 + 4 * down * (1 - back))
    )
    return (10.0**power).tolist(), losses.tolist()


def read(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """Go through a curve as the ramp does, and judge it."""
    for done in range(1, len(losses) + 1):
        if has_diverged(losses[:done], num_steps=len(losses)):
            return judge(rates[:done], losses[:done], num_steps=len(losses), diverged=rates[done - 1], guess_loss=5.4)
    return judge(rates, losses, num_steps=len(losses), diverged=None, guess_loss=5.4)


@settings(max_examples=40, deadline=None)
@given(st.floats(-5, -3), st.sampled_from([60, 100, 200]), st.integers(0, 10**6))
def test_the_suggestion_is_within_half_a_decade_of_the_descents_middle(
    middle: float, num_steps: int, seed: int
) -> None:
    test = read(*curve(middle, num_steps, seed))
    assert test.suggestion is not None
    assert abs(math.log10(test.suggestion) - middle) < 0.5
    assert test.diverged is not None
    collapse = middle + 1
    assert collapse - 0.5 < math.log10(test.diverged) < collapse + 1
    assert test.suggestion <= float(spell_rate(test.lowest / 3))
    assert test.lowest < test.diverged


def test_the_reason_has_the_numbers() -> None:
    test = read(*curve(-4, 100, 1))
    assert test.suggestion is not None
    for number in (f"{test.start_loss:.2f}", f"{min(test.smoothed):.2f}", spell_rate(test.lowest)):
        assert number in test.reason
    assert spell_rate(test.suggestion) in test.reason
    assert test.reason.endswith(".")


@pytest.mark.parametrize("kind", ["level", "skewed", "rising"])
def test_noise_gives_no_suggestion(kind: str) -> None:
    generator = np.random.default_rng(5)
    rates = np.geomspace(1e-7, 1e-1, 100).tolist()
    for _ in range(100):
        losses = {
            "level": 5.4 + 0.05 * generator.standard_normal(100),
            # Losses of a trained model: most small, some large.
            "skewed": generator.gamma(6, 0.2, 100),
            "rising": generator.gamma(6, 0.2, 100) + 4 * np.linspace(0, 1, 100) ** 8,
        }[kind]
        test = read(rates, losses.tolist())
        assert test.suggestion is None
        assert test.reason.startswith("No clear descent")
        assert (test.diverged is not None) == (kind == "rising")


def test_a_loss_that_falls_to_the_end_asks_for_a_higher_rate() -> None:
    rates, losses = curve(-1.6, 100, 2)
    test = read(rates, losses)
    assert test.suggestion is None
    assert test.reason.endswith("Raise --max-lr (1.0e-1).")


def test_a_loss_that_falls_at_once_asks_for_a_lower_rate() -> None:
    rates = np.geomspace(1e-7, 1e-1, 100).tolist()
    steps = np.arange(100)
    test = read(rates, (3 + 2.4 * np.exp(-steps / 4) + 0.002 * steps + 0.01 * np.cos(steps)).tolist())
    assert test.suggestion is None
    assert test.reason.endswith("Lower --min-lr (1.0e-7).")


def test_a_cliff_keeps_the_suggestion_away() -> None:
    rates = np.geomspace(1e-7, 1e-1, 100)
    losses = np.where(rates < 1e-3, 5.4, np.where(rates < 2e-3, 3.0, 9.0)) + 0.01 * np.cos(np.arange(100))
    test = read(rates.tolist(), losses.tolist())
    assert test.suggestion == pytest.approx(test.lowest / 3, rel=0.05)
    assert "3 times below the lowest, which is safer" in test.reason


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.floats(0, 0.99))
def test_smoothing_is_the_weighted_mean_it_says(losses: list[float], decay: float) -> None:
    places = np.arange(len(losses))
    weights = np.power(decay, np.abs(places[:, None] - places[None, :]))
    np.testing.assert_allclose(smooth(losses, decay), weights @ losses / weights.sum(axis=1), atol=1e-9)


def test_a_rate_is_written_as_one_would_type_it() -> None:
    assert [spell_rate(rate) for rate in (0.000183, 1e-4, 3.0, 9.96e-5)] == ["1.8e-4", "1.0e-4", "3.0e0", "1.0e-4"]


def test_smoothing_does_not_shift_the_curve() -> None:
    valley = np.abs(np.arange(101) - 50.0)
    assert int(smooth(valley.tolist(), 0.8).argmin()) == 50


# -- the chart and the command


def test_the_chart_shows_every_step_and_the_suggestion(tiny_test: RangeTest) -> None:
    root = ElementTree.fromstring(draw_range(tiny_test, title="tiny <&> more"))
    tag = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{tag}circle")) == len(tiny_test.losses)
    texts = [one.text or "" for one in root.iter(f"{tag}text")]
    assert texts[0] == "tiny <&> more"
    assert tiny_test.suggestion is not None
    assert f"train with {spell_rate(tiny_test.suggestion)}" in texts
    assert any(text.startswith("diverged at ") for text in texts)
    left, right, top, bottom = 70, 880, 76, 455
    for circle in root.iter(f"{tag}circle"):
        assert left <= float(circle.attrib["cx"]) <= right
        assert top <= float(circle.attrib["cy"]) <= bottom


def test_the_chart_of_a_test_without_suggestion_or_with_a_huge_loss_can_be_drawn() -> None:
    rates = np.geomspace(1e-7, 1e-1, 30).tolist()
    test = judge(rates, [5.4] * 29 + [1e6], num_steps=30, diverged=rates[-1], guess_loss=5.4)
    assert test.suggestion is None
    assert "no suggestion" in draw_range(test, title="none")


@pytest.fixture
def arguments(tiny_folder: Path, tmp_path: Path) -> list[str]:
    words = ["find-lr", "--model", tiny_folder, "--from-scratch", "--train-file", "starter:train", "--output-dir"]
    words += [tmp_path / "found", "--max-train-examples", 150, "--max-seq-length", 96, "--doc-stride", 32]
    words += ["--batch-size", 8, "--min-lr", "1e-5", "--max-lr", 1e3, "--num-steps", 90, "--num-threads", 1]
    return [str(word) for word in words]


def test_the_command_writes_prints_and_tells_how_to_train(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "range test: 90 steps of 8 windows, learning rate 1e-05 to 1000" in err
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [RANGE_JSON, RANGE_SVG]
    assert json.loads((tmp_path / "found" / RANGE_JSON).read_text()) == found
    assert {name: type(value) for name, value in found.items()} == {
        **dict.fromkeys(["suggested_lr", "lowest_lr", "diverged_lr", "start_loss", "descent", "noise"], float),
        **dict.fromkeys(["guess_loss", "min_lr", "max_lr", "seconds"], float),
        **dict.fromkeys(["num_steps", "step_windows", "questions", "windows", "seed"], int),
        **dict.fromkeys(["reason", "command", "model", "device", "precision"], str),
        **dict.fromkeys(["train_file", "points"], list),
    }
    assert [list(point) for point in found["points"]] == [
        ["step", "learning_rate", "loss", "smoothed_loss"] for _ in found["points"]
    ]
    assert [point["step"] for point in found["points"]] == list(range(1, len(found["points"]) + 1))

    # The command that it gives is the run that was tested.
    words = shlex.split(found["command"])
    assert words[:4] == ["albertqa", "train", "--lr", spell_rate(found["suggested_lr"])]
    given_settings = cli.parse(arguments).settings
    assert cli.parse(words[1:]).settings == dataclasses.replace(
        given_settings, learning_rate=found["suggested_lr"], output_dir=tmp_path / "found-train"
    )


def test_the_command_trains_in_a_folder_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "found-train").mkdir()
    command = train_command(Settings(output_dir=tmp_path / "found"), 3e-5)
    assert command == f"albertqa train --lr 3.0e-5 --output-dir {tmp_path}/found-train-2"


def test_without_json_it_prints_curve_reason_and_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "learning rate and smoothed loss" in out
    assert "The smoothed loss fell from " in out
    assert "train with it: albertqa train --lr " in out
    assert str(tmp_path / "found" / RANGE_SVG) in out


def test_an_interrupt_writes_nothing_and_exits_130(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_step(_self: TerminalDisplay, row: StepRow) -> None:
        if row.step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(TerminalDisplay, "on_step", on_step)
    assert cli.main(arguments) == 130
    assert list((tmp_path / "found").iterdir()) == []


def test_a_settings_file_is_read_but_for_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'train_batch_size = 4\nseed = 7\noutput_dir = "{tmp_path}/run"\n')
    command = cli.parse(["find-lr", "--config", str(file), "--seed", "8"])
    assert (command.settings.train_batch_size, command.settings.seed) == (4, 8)
    assert command.settings.output_dir == Path("runs/find-lr")
    assert command.num_steps == 100


def test_without_a_suggestion_there_is_no_command() -> None:
    assert train_command(Settings(), None) is None


@pytest.mark.parametrize(
    ("ramp", "message"),
    [
        ({"min_lr": 0.0}, "min_lr is 0 and max_lr 0.1, expected 0 < min_lr < max_lr"),
        ({"min_lr": 1.0}, "min_lr is 1 and max_lr 0.1, expected 0 < min_lr < max_lr"),
        ({"max_lr": math.inf}, "max_lr inf, expected 0 < min_lr < max_lr"),
        ({"max_lr": math.nan}, "max_lr nan, expected 0 < min_lr < max_lr"),
        ({"num_steps": 19}, "num_steps is 19, expected at least 20"),
    ],
)
def test_a_ramp_that_is_none_is_refused(tmp_path: Path, ramp: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        find_lr(Settings(output_dir=tmp_path / "found"), **ramp)
    assert message in str(caught.value)
    assert not (tmp_path / "found").exists()


def test_a_file_in_the_folders_place_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "found").write_text("")
    with pytest.raises(AlbertQAError, match="found: is a file, expected a folder for the range test"):
        find_lr(Settings(output_dir=tmp_path / "found"), callbacks=[Callback()])
