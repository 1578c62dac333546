"""Models that Keras 1 or 2 saved: their files are checked, then rebuilt in a process of its own."""
