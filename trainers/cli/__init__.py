"""The commands ``bookserve train``, ``search``, ``inside``, ``tasks``, ``runs`` and ``compare``."""
