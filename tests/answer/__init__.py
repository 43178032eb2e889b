"""Tests of answering from a trained model."""
