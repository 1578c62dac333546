"""Copy Runs and bundles, so that a test may change them."""

from __future__ import annotations

import shutil
from pathlib import Path

from bookserve.bundle import Bundle
from bookserve.run import Run


def copy_run(run: Run, to: Path) -> Run:
    """Copy ``run`` under ``to/runs``."""
    return Run(Path(shutil.copytree(run.path, to / "runs" / run.task / run.path.name)))


def copy_bundle(bundle: Bundle, to: Path) -> Bundle:
    """Copy ``bundle`` under ``to/models``."""
    path = to / "models" / bundle.name / str(bundle.version)
    return Bundle.open(Path(shutil.copytree(bundle.path, path)))
