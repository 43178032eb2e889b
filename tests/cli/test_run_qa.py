"""The flags of Transformers' run_qa.py."""

import shlex

import pytest

from albertqa import cli
from albertqa.config import Settings

from .conftest import Run

PUBLISHED = """
  --model_name_or_path albert-base-v2 --dataset_name squad --do_train --do_eval --per_device_train_batch_size 12
  --learning_rate 3e-5 --num_train_epochs 2 --max_seq_length 384 --doc_stride 128 --output_dir /tmp/debug_squad/
"""


def test_the_published_command_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.parse(["train", *shlex.split(PUBLISHED)])
    assert command.settings == Settings(
        model="albert-base-v2",
        train_file=("squad:train",),
        validation_file=("squad:validation",),
        train_batch_size=12,
        epochs=2.0,
        output_dir=command.settings.output_dir,
    )
    assert str(command.settings.output_dir) == "/tmp/debug_squad"
    assert command.data.validation_file == ("squad:validation",)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("--fp16", {"mixed_precision": "fp16"}),
        ("--bf16 True", {"mixed_precision": "bf16"}),
        ("--fp16=False --bf16 false --no_cuda False", {}),
        ("--use_cpu", {"device": "cpu"}),
        ("--evaluation_strategy steps --eval_steps 500 --save_strategy epoch", {"eval_steps": 500.0}),
        ("--load_best_model_at_end True --metric_for_best_model eval_exact_match", {"metric_for_best_model": "exact"}),
        ("--metric_for_best_model eval_loss --greater_is_better False", {"metric_for_best_model": "loss"}),
        ("--lr_scheduler_type constant_with_warmup --warmup_steps 10",
         {"lr_scheduler_type": "constant", "warmup_steps": 10}),
        ("--version_2_with_negative --null_score_diff_threshold -1.5",
         {"version_2_with_negative": True, "null_score_diff_threshold": -1.5}),
        ("--per_device_eval_batch_size 8 --max_train_samples 10 --max_eval_samples 5 --label_smoothing_factor 0.1",
         {"eval_batch_size": 8, "max_train_examples": 10, "max_eval_examples": 5, "label_smoothing_factor": 0.1}),
        ("--gradient_checkpointing --torch_compile True --report_to none --optim adamw_torch",
         {"gradient_checkpointing": True, "torch_compile": True}),
        ("--train_file train.csv --validation_file dev.csv --dataset_name squad",
         {"train_file": ("train.csv",), "validation_file": ("dev.csv",)}),
    ],
)  # fmt: skip
def test_a_flag_means_what_it_means_there(words: str, changed: dict[str, object]) -> None:
    assert cli.parse(["train", *words.split()]).settings == Settings(**changed)  # type: ignore[arg-type]


def test_flags_without_effect_are_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--overwrite_output_dir --pad_to_max_length False --preprocessing_num_workers 4 --disable_tqdm True"
    assert cli.parse(["train", *words.split()]).settings == Settings()
    assert capsys.readouterr().err == (
        "albertqa: without effect here: --overwrite_output_dir (a folder that holds a run is never overwritten), "
        "--preprocessing_num_workers (windows are built in one process), "
        "--disable_tqdm (the display follows the terminal)\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--do_train --do_predict --test_file t.json",
         "--do_predict: instead of it, albertqa answer RUN --input FILE --output predictions.json"),
        ("--do_eval", "--do_eval without --do_train: instead of it, albertqa evaluate MODEL FILE"),
        ("--resume_from_checkpoint /tmp/x/checkpoint-500",
         "--resume_from_checkpoint: instead of it, albertqa train --resume --output-dir RUN"),
        ("--push-to-hub", "--push-to-hub: instead of it, albertqa report RUN --push-to-hub OWNER/NAME"),
        ("--trust_remote_code True",
         "--trust_remote_code: instead of it, nothing: code in a model's folder is never run"),
        ("--eval_strategy steps", "--eval_strategy steps: instead of it, --eval-steps N"),
        ("--save_strategy no", "--save_strategy no: a run does it after every epoch, or every --save-steps N"),
        ("--optim adafactor", "train: there is no --optim. See: albertqa train --help"),
    ],
)  # fmt: skip
def test_what_is_done_otherwise_here_is_said_in_one_line(run: Run, words: str, message: str) -> None:
    assert run("train", *words.split()) == (2, "", f"albertqa: {message}\n")
