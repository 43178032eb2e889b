"""Write a trained model as ONNX, whole or in int8, with what it loses measured, and as a page that reads by itself."""
