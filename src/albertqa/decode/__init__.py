"""Windows → span logits → n-best, null score, answer text."""
