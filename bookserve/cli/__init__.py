"""The command ``bookserve``: its entry point, what commands share on a terminal, and the demo."""
