"""What several rules need to know about models: tensor shapes, canonical ONNX, code of the user's."""
