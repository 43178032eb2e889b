"""Tests of `albertqa.training`."""
