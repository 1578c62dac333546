"""Find and start bookserve's own programs, whatever else is called ``serve`` or ``export`` in the current directory.

The packages behind the command line have common names: ``trainers``, ``export``, ``serve`` and ``clients``. A user may
have files of these names in the current directory, beside a script, or on ``PYTHONPATH``. Two things keep the command
``bookserve`` apart from them:

- ``import_module`` looks for the four packages only beside the package ``bookserve`` itself. That is right for a wheel,
  for an editable install and for a checkout on ``PYTHONPATH``.
- ``python_command`` starts other processes so that they do the same: ``python -P`` leaves out the current directory.

``python -m bookserve.cli.programs MODULE ARGUMENTS`` runs a module of the four packages as ``python -m`` would.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import bookserve

PROGRAMS = ("trainers", "export", "serve", "clients")
#: The program for many machines. In a checkout it lies in ``deploy/``, in a wheel beside the other four.
FLEET = "fleet"


def home() -> Path:
    """The directory that holds the package ``bookserve``, and the four programs beside it."""
    return Path(bookserve.__file__).resolve().parent.parent


class _ProgramFinder:
    """Finder for ``sys.meta_path``: the programs lie in ``home()`` and nowhere else."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == FLEET:
            return PathFinder.find_spec(fullname, [str(home() / "deploy"), str(home())], target)
        return PathFinder.find_spec(fullname, [str(home())], target) if fullname in PROGRAMS else None


def import_module(name: str) -> ModuleType:
    """Import a module of ``bookserve`` or of one of the four packages.

    From now on this process finds the four packages only beside ``bookserve``.
    """
    if _ProgramFinder not in sys.meta_path:
        sys.meta_path.insert(0, _ProgramFinder)
    return importlib.import_module(name)


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs ``module`` (of ``bookserve`` or of the four packages) in a new Python process.

    The current directory is left out of its import path, unless that is where ``bookserve`` lies.
    """
    isolation = [] if home() == Path.cwd() else ["-P"]
    through = [] if module.partition(".")[0] == "bookserve" else ["bookserve.cli.programs"]
    return [sys.executable, *isolation, "-m", *through, module, *arguments]


def leave_out_current_directory() -> None:
    """Remove what ``python -m`` put in front of the import path, unless that is where ``bookserve`` lies."""
    if not sys.flags.safe_path and sys.path and Path(sys.path[0]).resolve() == Path.cwd() != home():
        del sys.path[0]


def main() -> None:
    """Run the module that the command line names, with the arguments after it."""
    leave_out_current_directory()
    import_module("bookserve")
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
