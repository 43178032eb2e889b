"""Rules about memory, arithmetic, time and disk."""

import shlex
from collections.abc import Iterator

from albertqa.config import equal_passes
from albertqa.health.advice import train_again, use_base_model
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding, evidence

_GIBIBYTE = 1 << 30
# Weights, and AdamW's two moments, in fp32.
_BYTES_PER_WEIGHT = 12
# ALBERT-base's 12 million, and some.
_BASE_PARAMETERS = 13_000_000


def nan_loss(record: RunRecord) -> Iterator[Finding]:
    """Steps that were skipped for a NaN or infinite loss or gradient, and evaluations with such a loss."""
    faults, evaluations = record.faulty_steps, record.faulty_evaluations
    failure = record.failure
    failed = "loss is" in failure
    if not faults and not evaluations and not failed:
        return
    windows = sorted({index for row in faults for index in row.non_finite_windows or ()})
    precision, since = record.machine.precision, record.run.facts.fp32_since_step
    # After the first such step, or with a GPU's next one, a run computes in full precision.
    is_late = len(faults) > 2 if since is None else any(row.step >= since for row in faults)
    is_full = precision not in {"float16", "bfloat16"} or is_late
    if is_full:
        why = "In full precision this comes from too high a learning rate: lower it."
        lower = record.settings.learning_rate / 3
        change = train_again(record, "lower-rate", learning_rate=lower, max_grad_norm=1.0)
    else:
        since_then = ", and is float32 from there on" if faults else ""
        why = f"The arithmetic was {precision}{since_then}: use full precision from the start."
        change = train_again(record, "fp32", mixed_precision="no")
    seen = []
    if faults:
        which = f" (windows {', '.join(windows[:5])}{', …' if len(windows) > 5 else ''})" if windows else ""
        seen.append(
            f"In {len(faults):,} of {len(record.steps):,} steps the loss or the gradient was NaN or infinite, and the "
            f"step was skipped{which}."
        )
    if evaluations or "validation loss is" in failure:
        seen.append("The validation loss was NaN or infinite: the training broke in the steps before.")
    first = min([*(row.step for row in faults), *(row.step for row in evaluations)], default=record.step)
    yield Finding(
        "nan-loss",
        "error" if failed or evaluations or len(faults) > 0.05 * len(record.steps) else "warning",
        " ".join(seen or ["The loss was NaN or infinite."])
        + f" {why}"
        + (f" The run failed: {failure}" if failed else ""),
        change,
        {"skipped_steps": len(faults), "steps": len(record.steps), "faulty_evaluations": len(evaluations),
         "precision": precision},
        first,
    )  # fmt: skip


def fp16_overflow(record: RunRecord) -> Iterator[Finding]:
    """fp16 gradients that overflow again and again; now and then is how the loss scale is found."""
    lost = record.overflowed_steps
    if record.machine.precision != "float16" or len(record.steps) < 50 or lost < 0.05 * len(record.steps):
        return
    yield Finding(
        "fp16-overflow",
        "warning",
        f"In {lost:,} of {len(record.steps):,} steps the gradient was too large for fp16 and the step was skipped. "
        "bf16 has the range of fp32; where the GPU lacks it, train in fp32.",
        train_again(record, "bf16", mixed_precision="auto"),
        {"overflowed_steps": lost, "steps": len(record.steps)},
        record.step,
    )


def out_of_memory(record: RunRecord) -> Iterator[Finding]:
    """Memory that ran out: at steps that were repeated with less, or for good."""
    if "out of memory" in record.failure:
        yield _failed_for_memory(record)
    again = record.out_of_memory_steps
    if not again:
        return
    settings = record.settings
    smallest = record.steps[-1].micro_batch or settings.train_batch_size
    equal = equal_passes(settings.step_windows, smallest)
    yield Finding(
        "out-of-memory",
        "warning",
        f"The memory did not hold step {again[0].step:,}"
        + (f" and {len(again) - 1} more" if len(again) > 1 else "")
        + f", and the run went on with {smallest} windows at a time and more passes a step. Results stay the same up "
        "to rounding; the time of the failed tries is lost. Use a batch that fits from the start.",
        train_again(record, "fits", train_batch_size=equal, gradient_accumulation_steps=settings.step_windows // equal),
        {"steps_done_again": len(again), "micro_batch_wanted": settings.train_batch_size, "micro_batch": smallest},
        again[0].step,
    )


def _failed_for_memory(record: RunRecord) -> Finding:
    """Report what needs less memory than a run that did not get enough for one window at a time."""
    settings = record.settings
    if settings.gradient_checkpointing is False:
        change = train_again(record, "recomputing", gradient_checkpointing=True)
    elif (record.model.parameters or 0) > _BASE_PARAMETERS:
        change = use_base_model(record)
    else:
        length = settings.max_seq_length // 2
        change = train_again(record, "shorter", max_seq_length=length, doc_stride=min(settings.doc_stride, length // 3))
    return Finding(
        "out-of-memory",
        "error",
        f"The run failed: {record.failure}. Close other programs and resume with --resume, or use less memory: "
        "recomputed activations, a smaller model, shorter windows.",
        change,
        evidence(max_seq_length=settings.max_seq_length, parameters=record.model.parameters),
        record.step,
    )


def terminated(record: RunRecord) -> Iterator[Finding]:
    """A run that was terminated unexpectedly, or failed."""
    is_gone = record.status == "running" and record.run.is_alive is False
    known = ("out of memory", "loss is")
    if not is_gone and (record.status != "failed" or any(word in record.failure for word in known)):
        return
    why = (
        "its process was terminated unexpectedly: by the system, mostly for lack of memory (see dmesg or journalctl "
        "-k), or by a power cut"
        if is_gone
        else f"it failed: {record.failure}"
    )
    yield Finding(
        "terminated",
        "error",
        f"The run ended at step {record.step:,} of {record.total_steps:,}; {why}. The last checkpoint is complete: "
        "resume from it.",
        shlex.join(["albertqa", "train", "--resume", "--output-dir", str(record.path)]),
        {"status": record.status, "total_steps": record.total_steps},
        record.step,
    )


def slow_data(record: RunRecord) -> Iterator[Finding]:
    """A device that waits for its data."""
    timed = [row for row in record.steps[-200:] if row.data_seconds is not None and row.tokens_per_second]
    if len(timed) < 20:
        return
    seconds = [row.tokens / (row.tokens_per_second or 1.0) for row in timed]
    share = sum(row.data_seconds or 0.0 for row in timed) / sum(seconds)
    # A CUDA GPU works on one step while the next one's windows are fetched: there it waits for what exceeds that.
    if share < (0.8 if record.machine.device.startswith("cuda") else 0.3):
        return
    yield Finding(
        "slow-data",
        "warning",
        f"{100 * share:.0f} % of a step's time goes into loading its windows "
        f"({1000 * sum(seconds) / len(timed):.0f} ms a step): the device waits. The windows are read from the disk "
        "as they are needed: is the cache folder on a network drive, or the memory full? Put ALBERTQA_CACHE on a "
        "local disk. Augmentation takes time, too.",
        f"ALBERTQA_CACHE=/tmp/albertqa-cache {train_again(record, 'local-cache')}",
        {"data_share": round(share, 4)},
        record.step,
    )


def swapping(record: RunRecord) -> Iterator[Finding]:
    """A machine that has begun to swap."""
    used = [row.swap_used_bytes for row in record.evaluations if row.swap_used_bytes is not None]
    before = record.machine.swap_used_bytes
    if not used or before is None or used[-1] - before < _GIBIBYTE // 2:
        return
    settings = record.settings
    smaller = equal_passes(settings.step_windows, max(1, settings.train_batch_size // 2))
    yield Finding(
        "swapping",
        "warning",
        f"Since the run began, {(used[-1] - before) / _GIBIBYTE:.1f} GiB of memory were swapped to disk: the machine "
        "has too little memory, and training gets many times slower. Close other programs, or use smaller batches.",
        train_again(record, "less-memory", train_batch_size=smaller,
                    gradient_accumulation_steps=settings.step_windows // smaller, eval_batch_size=8),
        {"swap_used_bytes": used[-1], "swap_used_bytes_before": before},
        record.step,
    )  # fmt: skip


def emulated_bf16(record: RunRecord) -> Iterator[Finding]:
    """bf16 on a device that only emulates it."""
    if record.machine.precision != "bfloat16" or record.machine.fast_bf16 is not False:
        return
    yield Finding(
        "emulated-bf16",
        "warning",
        f"This device ({record.machine.device_name}) has no bf16 in hardware and emulates it, several times "
        "slower than fp32. Use --mixed-precision auto.",
        train_again(record, "auto-precision", mixed_precision="auto"),
        {"precision": "bfloat16", "device": record.machine.device},
    )


def full_disk(record: RunRecord) -> Iterator[Finding]:
    """A disk without room for the next checkpoints."""
    free = [row.disk_free_bytes for row in record.evaluations if row.disk_free_bytes is not None]
    known = [size for size in (record.machine.disk_free_bytes, *free) if size is not None]
    weights = record.model.parameters
    if not known or not weights or record.status != "running":
        return
    checkpoint = _BYTES_PER_WEIGHT * weights
    if known[-1] > max(2 * checkpoint, _GIBIBYTE // 4):
        return
    yield Finding(
        "full-disk",
        "warning",
        f"The disk has {known[-1] / _GIBIBYTE:.2f} GiB left, and a checkpoint takes {checkpoint / _GIBIBYTE:.2f} GiB "
        "(twice that while it is written). Free some space while the run goes on; if it stops, the command resumes "
        "it from its last checkpoint and keeps no other.",
        shlex.join(["albertqa", "train", "--resume", "--save-total-limit", "1", "--output-dir", str(record.path)]),
        {"disk_free_bytes": known[-1], "checkpoint_bytes": checkpoint},
        record.step,
    )
