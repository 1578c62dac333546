"""Run the command line: ``python -m bookserve`` does what ``bookserve`` does."""

from bookserve.cli.main import main
from bookserve.cli.programs import leave_out_current_directory

leave_out_current_directory()
main()
