"""Train every model of *Deep Learning with R*: one file a model, one training loop, the data sets."""
