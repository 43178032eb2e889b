"""Tokenizers without Transformers; examples → windows with labels and offsets; their store; batches without padding."""
