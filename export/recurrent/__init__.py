"""Loops over time in an ONNX graph, recognised and replaced by one RNN, GRU or LSTM operator."""
