"""Files that users of TensorFlow Serving bring along: ``models.config``, batching parameters, warm-up requests."""
