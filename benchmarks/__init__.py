"""Measurements of speed and memory; run one with ``python -m benchmarks.NAME``, all of them with ``make bench``."""
