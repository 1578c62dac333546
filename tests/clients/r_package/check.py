"""Builds and checks the R package with real servers: ``python -m tests.clients.r_package.check`` (``make test-r``).

``R CMD check`` runs the examples, and the tests against servers that they start from this environment's ``bookserve``
with ``pretrained/``. An error or a warning fails; notes are printed. Debian's packages
are installed where that is possible.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import picture_bundles

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients/r"
R_PACKAGES = ("httr2", "jsonlite", "knitr", "png", "processx", "rmarkdown", "roxygen2", "testthat")
DEBIAN = ("r-base-core", "pandoc", *(f"r-cran-{name}" for name in R_PACKAGES))


def missing_packages() -> list[str]:
    """The R packages (or R itself) that are not installed."""
    rscript = shutil.which("Rscript")
    if not rscript:
        return ["R"]
    code = "p <- commandArgs(TRUE); cat(p[!vapply(p, requireNamespace, TRUE, quietly = TRUE)])"
    done = subprocess.run([rscript, "-e", code, *R_PACKAGES], capture_output=True, text=True, check=True)
    return [*done.stdout.split(), *([] if shutil.which("pandoc") else ["pandoc"])]


def find_r() -> str:
    """The path of Rscript, with all packages that the checks need; they are installed on Debian as root."""
    missing = missing_packages()
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (("update", "-q"), ("install", "-qy", "--no-install-recommends", *DEBIAN)):
            subprocess.run(["apt-get", *command], check=True, stdout=subprocess.DEVNULL)
        missing = missing_packages()
    if missing:
        raise SystemExit(
            f"error: missing for the checks of the R package: {', '.join(missing)}\n"
            f"hint:  Debian, Ubuntu: sudo apt-get install {' '.join(DEBIAN)}\n"
            "       elsewhere: R and pandoc, then in R install.packages("
            f"c({', '.join(repr(name) for name in R_PACKAGES)}))"
        )
    return str(shutil.which("Rscript"))


def install(library: Path) -> Path:
    """Install the package into ``library`` and return it."""
    library.mkdir()
    command = ["R", "CMD", "INSTALL", "--no-docs", "--no-test-load", "-l", str(library), str(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return library


def stale_documentation(rscript: str, directory: Path) -> list[str]:
    """Files that roxygen2 would write differently; empty if another version of roxygen2 wrote them."""
    copy = directory / "documented"
    shutil.copytree(PACKAGE, copy)
    version = re.search(r"^RoxygenNote: (.*)$", (copy / "DESCRIPTION").read_text(), re.MULTILINE)
    code = f'if (packageVersion("roxygen2") == "{version and version[1]}") roxygen2::roxygenise(".")'
    subprocess.run([rscript, "-e", code], cwd=copy, check=True, capture_output=True)
    written = {path.relative_to(copy): path.read_text() for path in (copy / "NAMESPACE", *copy.glob("man/*.Rd"))}
    return [
        str(path)
        for path, text in written.items()
        if not (PACKAGE / path).exists() or (PACKAGE / path).read_text() != text
    ]


def main() -> None:
    rscript = find_r()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if stale := stale_documentation(rscript, directory):
            raise SystemExit(f"error: not up to date: {', '.join(stale)}\nhint:  make r-docs")
        subprocess.run(["R", "CMD", "build", str(PACKAGE)], cwd=directory, check=True)
        (archive,) = directory.glob("bookserve_*.tar.gz")
        environment = {
            **os.environ,
            "BOOKSERVE_COMMAND": str(Path(sys.executable).parent / "bookserve"),
            "BOOKSERVE_MODELS": str(ROOT / "pretrained"),
            "BOOKSERVE_PICTURES": str(picture_bundles.write_all(directory / "pictures")),
            "NOT_CRAN": "true",
        }
        # The PDF manual needs LaTeX, which says nothing about the package.
        check = ["R", "CMD", "check", "--no-manual", str(archive)]
        done = subprocess.run(check, cwd=directory, env=environment, check=False)
        folder = directory / "bookserve.Rcheck"
        tests = folder / "tests" / ("testthat.Rout" if not done.returncode else "testthat.Rout.fail")
        if tests.exists():
            sys.stdout.write("\n".join(tests.read_text("utf-8").splitlines()[-40:]) + "\n")
        log = (folder / "00check.log").read_text("utf-8")
        if done.returncode or re.search(r"^Status: .*(ERROR|WARNING)", log, re.MULTILINE):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
