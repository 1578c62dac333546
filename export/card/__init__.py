"""Model cards: the ``README.md`` of a bundle, with calls that run as they stand."""
