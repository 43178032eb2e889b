"""Damaged and hostile inputs of every kind, seeded: a short campaign in the suite, a long one by a command."""
