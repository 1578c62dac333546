"""Replace loops over time in an ONNX graph by the operators RNN, GRU and LSTM."""
