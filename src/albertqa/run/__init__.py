"""Optimizer and schedule; the loop; checkpoints; what a person sees of it."""
