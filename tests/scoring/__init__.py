"""Tests of the metric, against a reference written from its semantics."""
