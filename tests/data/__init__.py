"""Tests of `albertqa.data`."""
