"""``python -m bookserve`` is ``bookserve``."""

from bookserve.cli.main import main

main()
