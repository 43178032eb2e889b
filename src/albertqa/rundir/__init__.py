"""A run directory on the disk, typed: one reader and writer of each of its files; imports no PyTorch.

`albertqa.rundir.directory.load_run` reads a run; `rows` has the lines of ``metrics.jsonl``, `run_json` the content of
``run.json``, `findings` that of ``health.json``. The names of the files are in `albertqa.files`.
"""
