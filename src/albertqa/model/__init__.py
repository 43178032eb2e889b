"""One encoder for all families: load and save, attention without padding, span loss; exported models (ONNX)."""
