"""A study's trials: each is a run directory; workers share them through a journal.

A trial is one setting with one seed. Optuna's journal says which trials there are and how they ended; a lock beside the
runs says which worker has one. A trial whose worker is gone is taken over by the next one and resumed from its
checkpoint, so that none is lost and none is done twice.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from albertqa.config import Settings
from albertqa.errors import AlbertQAError, SettingsError
from albertqa.files import CONFIG_TOML
from albertqa.run.callbacks import Callback
from albertqa.run.recipe import RunResult, train
from albertqa.rundir.rows import EvaluationRow
from albertqa.study.spec import Range, StudySpec, Value


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the journal has it: a setting, by its number and its values, with one seed.

    Attributes:
        state: ``COMPLETE``, ``PRUNED``, ``FAIL``, ``RUNNING`` or ``WAITING``.
        failure: Why it failed.
    """

    state: str
    setting: int
    seed: int
    values: dict[str, Value]
    failure: str = ""

    @property
    def name(self) -> str:
        """Its run directory's name."""
        return run_name(self.setting, self.seed)


def run_name(setting: int, seed: int) -> str:
    """Return the name of a trial's run directory."""
    return f"s{setting:03d}-seed{seed}"


class Trials:
    """The trials of a study; `say` takes a line for the user.

    Raises:
        SettingsError: Optuna is not installed.
    """

    def __init__(self, spec: StudySpec, say: Callable[[str], None]) -> None:
        self._spec, self._say = spec, say
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalStorage
        except ImportError as error:
            raise SettingsError("study: needs Optuna. Install the extra: pip install 'albertqa[study]'") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, pruners = optuna, optuna.pruners
        self._study = optuna.create_study(
            study_name="albertqa",
            storage=JournalStorage(JournalFileBackend(str(spec.folder / "journal.log"))),
            sampler=self._sampler(0),
            pruner=pruners.MedianPruner(n_startup_trials=len(spec.seeds)) if spec.pruning else pruners.NopPruner(),
            direction="maximize",
            load_if_exists=True,
        )

    def records(self) -> list[TrialRecord]:
        """Return all trials, in the order of their numbers."""
        return [
            TrialRecord(
                trial.state.name,
                trial.user_attrs["setting"],
                trial.user_attrs["seed"],
                trial.params or trial.system_attrs.get("fixed_params", {}),
                trial.user_attrs.get("failure", ""),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if "seed" in trial.user_attrs
        ]

    def work(self) -> bool:
        """Do trials until none is left that nobody else does.

        Returns:
            Whether all was done; False where a signal came in between.
        """
        while True:
            with self._claimed() as trial:
                if trial is None:
                    return True
                if not self._run(trial):
                    return False

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[Any]:
        """Yield a trial that no other worker has, locked; None where there is none."""
        with FileLock(self._spec.folder / ".claim.lock"):
            self._plan()
            trial, lock = self._abandoned()
            if trial is None:
                trial = self._next()
                if trial is not None:
                    lock = self._lock(trial.number)
                    lock.acquire(timeout=0)
            if trial is not None:
                self._prepare(trial)
        try:
            yield trial
        finally:
            if lock is not None:
                lock.release()

    def _plan(self) -> None:
        """Add the trials that are known to be needed: a grid's, and every setting's further seeds."""
        records = self.records()
        if self._spec.search == "grid":
            settings = list(enumerate(self._spec.combinations()))
        else:
            settings = list({one.setting: one.values for one in records}.items())
        known = {(one.setting, one.seed) for one in records}
        # All settings with the first seed first: what can be seen of them, is seen early.
        for seed in self._spec.seeds:
            for setting, values in settings:
                if (setting, seed) not in known:
                    self._study.enqueue_trial(dict(values), user_attrs={"setting": setting, "seed": seed})

    def _abandoned(self) -> tuple[Any, FileLock | None]:
        """Return a trial whose worker is gone, with its lock."""
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.state.name != "RUNNING":
                continue
            lock = self._lock(frozen.number)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return self._optuna.trial.Trial(self._study, frozen._trial_id), lock
        return None, None

    def _next(self) -> Any:
        """Return the next trial: one that waits, or a new setting's first."""
        records = self.records()
        if not any(one.state == "WAITING" for one in records):
            settings = {one.setting for one in records}
            if self._spec.search == "grid" or len(settings) >= self._spec.num_settings:
                return None
        return self._study.ask()

    def _prepare(self, trial: Any) -> None:
        """Draw a new setting's values; those of any other trial are known."""
        setting = trial.user_attrs.get("setting", 1 + max((one.setting for one in self.records()), default=-1))
        # What is drawn follows from the setting's number, whoever draws it and however often this was started.
        self._study.sampler = self._sampler(setting)
        for name, of in self._spec.space.items():
            self._suggest(trial, name, of)
        if "seed" not in trial.user_attrs:
            trial.set_user_attr("setting", setting)
            trial.set_user_attr("seed", self._spec.seeds[0])

    def _sampler(self, seed: int) -> Any:
        samplers = self._optuna.samplers
        return samplers.TPESampler(seed=seed) if self._spec.search == "tpe" else samplers.RandomSampler(seed=seed)

    def _lock(self, number: int) -> FileLock:
        folder = self._spec.folder / "runs"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / f".trial-{number}.lock")

    def _run(self, trial: Any) -> bool:
        """Train, or go on with it; report how it ended. Return whether it ended."""
        values = trial.params
        name = run_name(trial.user_attrs["setting"], trial.user_attrs["seed"])
        settings = self._spec.run_settings(values, trial.user_attrs["seed"], name)
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        states = self._optuna.trial.TrialState
        watch = _Watch(trial, self._spec.metric)
        try:
            result = train_or_resume(settings, self._say, [watch], lambda: watch.is_pruned)
        except AlbertQAError as error:
            trial.set_user_attr("failure", str(error))
            self._study.tell(trial, state=states.FAIL)
            ended = f"failed: {error}"
        else:
            if watch.is_pruned:
                self._study.tell(trial, state=states.PRUNED)
                ended = f"pruned at step {result.step}"
            elif result.status == "interrupted":
                return False
            else:
                value = result.scores[self._spec.metric]
                self._study.tell(trial, value)
                ended = f"{self._spec.metric} {value:.2f}"
        self._say(f"{name} ({shown}): {ended}")
        return True

    def _suggest(self, trial: Any, name: str, of: Range | tuple[Value, ...]) -> None:
        if not isinstance(of, Range):
            trial.suggest_categorical(name, list(of))
        elif isinstance(of.low, int) and isinstance(of.high, int):
            trial.suggest_int(name, of.low, of.high, log=of.log)
        else:
            trial.suggest_float(name, of.low, of.high, log=of.log)


def train_or_resume(
    settings: Settings,
    say: Callable[[str], None],
    callbacks: Sequence[Callback] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Train as `train` does, or go on with a run that was begun; `say` takes a line where it is resumed."""
    resume = (settings.output_dir / CONFIG_TOML).is_file()
    if resume:
        say(f"{settings.output_dir.name}: resumed")
    settings.output_dir.parent.mkdir(parents=True, exist_ok=True)
    return train(settings, resume=resume, callbacks=callbacks, should_stop=should_stop)


class _Watch(Callback):
    """Reports a run's evaluations to the study, and stops it where it is hopeless."""

    def __init__(self, trial: Any, metric: str) -> None:
        self._trial, self._metric = trial, metric
        self.is_pruned = False

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Report the evaluation, once."""
        value = getattr(row, self._metric)
        if value is None:
            return
        frozen = self._trial.study.get_trials(deepcopy=False)[self._trial.number]
        if row.step not in frozen.intermediate_values:
            self._trial.report(value, row.step)
        self.is_pruned = self._trial.should_prune()
