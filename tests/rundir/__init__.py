"""Tests of the rundir room."""
