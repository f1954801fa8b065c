"""Networks as ONNX models, and ONNX models as networks."""
