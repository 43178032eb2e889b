"""Tests of `albertqa.health`."""
