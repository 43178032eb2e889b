"""What happens in a run: set-up, recipe, loop, step, checkpoints, callbacks, fitting the memory, the range test."""
