"""Answers from a trained model, to questions on one text, on several documents, or on an indexed collection."""
