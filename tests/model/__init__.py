"""Tests of `albertqa.model`."""
