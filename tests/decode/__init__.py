"""Tests of decoding, of the pass over the windows, and of loading a trained model."""
