"""``python -m bookserve`` is ``bookserve``."""

from bookserve.cli import main

main()
