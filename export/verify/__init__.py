"""Compare all forms of a model with each other and with the answers that Keras gave."""
