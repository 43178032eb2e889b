"""Answer on Ray (extra ``ray``): on the cores or GPUs of one machine, or of a cluster."""

import importlib
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from albertqa.answer.answerer import Answerer
from albertqa.answer.answers import Answer
from albertqa.bulk.frames import answer_frame
from albertqa.bulk.parts import Part, answer_rows
from albertqa.errors import RunError, SettingsError
from albertqa.files import first_line

if TYPE_CHECKING:
    import pandas as pd

_IN_FLIGHT = 2
"""Parts that an actor has at a time: one to answer and the next one. More are not read, so the memory stays flat."""

_SECONDS_TO_CONNECT = 10.0


def ray_answers(
    dataset: Any,
    model: str,
    *,
    actors: int = 2,
    cpus: float = 1,
    gpus: float = 0,
    batch_rows: int = 1000,
    batch_size: int = 32,
    **options: Any,
) -> Any:
    """Answer the questions of a Ray data set, in actors that hold one model each.

    Ray gives an actor so many rows at a time, and no more than it can take; the actor makes batches of as many tokens
    as ``batch_size`` says. Write the result with Ray's own sinks, such as ``write_parquet``; with its
    ``CheckpointConfig(id_column="id", …)`` an interrupted job goes on.

    Args:
        dataset: A `ray.data.Dataset` with the columns ``question`` and ``context``, and any others.
        model: Run directory, model folder, or Hub name; a path that every node has.
        actors: Models that answer at the same time.
        cpus: Cores of each.
        gpus: GPUs of each, such as 1, or 0.5 for two actors on a GPU.
        batch_rows: Rows that an actor takes at a time.
        batch_size: Maximum-length windows of one forward pass.
        options: As in `Answerer`.

    Returns:
        A data set of the columns that `answer_frame` returns; nothing is computed before it is read.

    Raises:
        SettingsError: Ray is not installed.
    """
    _ray()
    data = importlib.import_module("ray.data")
    return dataset.map_batches(
        FrameAnswerer,
        fn_constructor_args=(model, {"batch_size": batch_size, **options}),
        batch_format="pandas",
        batch_size=batch_rows,
        compute=data.ActorPoolStrategy(size=actors),
        num_cpus=cpus,
        num_gpus=gpus,
    )


class FrameAnswerer:
    """Answers data frames, as Ray Data calls it."""

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self._model, self._options = model, options

    def __call__(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Answer a batch of rows."""
        return answer_frame(frame, self._model, **self._options)


class PartAnswerer:
    """Answers parts of a bulk job, in an actor."""

    def __init__(self, model: str, options: dict[str, Any], n_best: int, batch_size: int) -> None:
        self._answerer = Answerer(model, **options)
        self._n_best, self._batch_size = n_best, batch_size

    def answer(self, pairs: list[tuple[str, str]]) -> list[Answer]:
        """Answer the questions of a part."""
        return self._answerer.answer_batch(pairs, n_best=self._n_best, batch_size=self._batch_size)


class RayEngine:
    """Answers the parts of a `BulkJob` in Ray actors.

    Args:
        model: Run directory, model folder, or Hub name; a path that every node has.
        options: As in `Answerer`.
        n_best: Candidates for a question.
        batch_size: Maximum-length windows of one forward pass.
        actors: Models that answer at the same time.
        gpus: GPUs of each.
        address: Address of a cluster, such as ``ray://host:10001``; None: this machine.

    Raises:
        SettingsError: Ray is not installed.
    """

    def __init__(
        self,
        model: str,
        options: dict[str, Any],
        *,
        n_best: int,
        batch_size: int,
        actors: int,
        gpus: float = 0,
        address: str | None = None,
    ) -> None:
        self._ray = _ray()
        self._arguments = (model, options, n_best, batch_size)
        self._actors, self._gpus, self._address = actors, gpus, address

    def __call__(self, parts: Iterable[Part]) -> Iterator[tuple[Part, list[dict[str, Any]]]]:
        """Yield each part with its answers' rows, as they are done.

        Raises:
            RunError: There is no cluster at the address, or an actor died.
        """
        ray = self._ray
        self._connect()
        try:
            actor_class = ray.remote(num_cpus=1, num_gpus=self._gpus)(PartAnswerer)
            actors = [actor_class.remote(*self._arguments) for _ in range(self._actors)]
            left = iter(parts)
            pending: dict[Any, tuple[Part, Any]] = {}

            def submit(actor: Any) -> None:
                part = next(left, None)
                if part is not None:
                    pairs = [(one.question, one.context) for one in part.questions]
                    pending[actor.answer.remote(pairs)] = (part, actor)

            for actor in actors * _IN_FLIGHT:
                submit(actor)
            while pending:
                (done,), _ = ray.wait(list(pending), num_returns=1)
                part, actor = pending.pop(done)
                answers = ray.get(done)
                submit(actor)
                yield part, answer_rows(part.questions, answers)
        except ray.exceptions.RayTaskError as error:
            # Ray's own words hold the worker's traceback.
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise RunError(
                f"Ray: {first_line(error)[:200]}. What is written stays; start the same command again"
            ) from error
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        ray = self._ray
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self._address is None:
                ray.init(address="local", num_cpus=self._actors, include_dashboard=False, **quiet)
            else:
                _require_reachable(self._address)
                ray.init(address=self._address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise RunError(
                f"--ray-address: no Ray cluster at {self._address or 'this machine'} ({first_line(error)[:160]}). "
                "Start one with 'ray start --head', or leave the flag out to use this machine"
            ) from error


def _require_reachable(address: str) -> None:
    """Connect to an address with a port once; Ray itself would wait for minutes.

    Raises:
        OSError: Nothing answers there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise SettingsError("--engine ray: needs Ray. Install the extra: pip install 'albertqa[ray]'") from error
