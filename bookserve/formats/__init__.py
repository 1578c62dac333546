"""Files of other systems: pictures, tf.Example records, Triton's ``config.pbtxt``."""
