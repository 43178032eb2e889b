"""Tests of tokenizer, windows, store, batches and facts."""
