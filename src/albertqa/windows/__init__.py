"""ALBERT's tokenizer done right; examples → windows with labels and offsets; their store; batches without padding."""
