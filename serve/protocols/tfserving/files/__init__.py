"""Reads the files of TensorFlow Serving: ``models.config``, batching parameters, warm-up requests."""
