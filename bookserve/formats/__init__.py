"""Formats of other systems: signatures for ``tf.Example``, and Triton's ``config.pbtxt``."""
