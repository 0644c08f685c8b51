"""Write the network of a checkpoint as an ONNX file, which predicts without torch."""
