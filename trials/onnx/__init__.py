"""ONNX files: export, import and inference."""
