"""Model cards: the ``README.md`` of a bundle, with examples that can be run as they are."""
