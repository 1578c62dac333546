"""Runs official clients against one server: ``python -m tests.serve.protocols.clients.check [NAME…]``.

Each Python client has an environment of its own under ``.tools/clients``, made here from the package index; OpenAI's
JavaScript client comes from npm, R's httr2 from Debian. The server is ``bookserve serve`` with tiny models, and with
a SavedModel of TensorFlow 1. A client that fails, or a tool that is missing, fails the whole.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests import bundles
from tests.servers import Server, start

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
TOOLS = ROOT / ".tools/clients"
NODE_PACKAGE = "openai@7.59.0"
#: R and its packages, as Debian names them.
DEBIAN = ("r-base-core", "r-cran-httr2", "r-cran-jsonlite")


class Client(NamedTuple):
    """A client, and how it is installed and run."""

    name: str
    #: What the package index has to install; none where the interpreter has it already.
    packages: tuple[str, ...]
    #: Its module in this folder.
    script: str


PYTHON = (
    # Its stubs need TensorFlow, which the environment of this checkout has.
    Client("tensorflow-serving-api", (), "tensorflow_serving_client"),
    Client("tritonclient", ("tritonclient[http,grpc]==2.73.0",), "triton_client"),
    Client("kserve", ("kserve==0.21.0",), "kserve_client"),
    Client("mlserver", ("mlserver==1.7.1",), "mlserver_client"),
    Client("openai", ("openai==3.57.0",), "openai_client"),
    Client("lm-eval", ("lm-eval[api]==0.4.13", "transformers==5.19.0"), "lm_eval_client"),
)
OTHERS: dict[str, Callable[[], list[str]]] = {
    "openai-node": lambda: [_need("node", "nodejs"), str(_node_script())],
    "httr2": lambda: [_rscript(), str(HERE / "httr2_client.R")],
}
NAMES = (*(client.name for client in PYTHON), *OTHERS)


def command(name: str) -> list[str]:
    """The command that runs a client, which is installed first; the addresses follow."""
    if name in OTHERS:
        return OTHERS[name]()
    client = next(client for client in PYTHON if client.name == name)
    return [_environment(client), "-m", f"tests.serve.protocols.clients.{client.script}"]


def _environment(client: Client) -> str:
    """The interpreter with the packages of a client."""
    if not client.packages:
        return sys.executable
    folder = TOOLS / client.name
    wanted, installed = "\n".join(client.packages), folder / "installed"
    if not installed.is_file() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *client.packages], check=True)
        installed.write_text(wanted)
    return str(folder / "bin/python")


def _need(program: str, package: str) -> str:
    found = shutil.which(program)
    if not found:
        raise SystemExit(f"error: {program} is not installed.\nhint:  Debian: apt-get install {package}")
    return found


def _node_script() -> Path:
    """The script beside the installed package, since modules are looked for beside what imports them."""
    folder = TOOLS / "node"
    script = folder / "openai_client.mjs"
    folder.mkdir(parents=True, exist_ok=True)
    install = ["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), NODE_PACKAGE]
    installed = folder / "node_modules/openai/package.json"
    if not installed.is_file() or f'"version": "{NODE_PACKAGE.partition("@")[2]}"' not in installed.read_text():
        subprocess.run([_need("npm", "npm"), *install], check=True)
    shutil.copyfile(HERE / script.name, script)
    return script


def _rscript() -> str:
    rscript = _need("Rscript", " ".join(DEBIAN))
    test = "stopifnot(requireNamespace('httr2', quietly = TRUE), requireNamespace('jsonlite', quietly = TRUE))"
    if subprocess.run([rscript, "-e", test], capture_output=True, check=False).returncode:
        raise SystemExit(f"error: R has no httr2 or jsonlite.\nhint:  Debian: apt-get install {' '.join(DEBIAN)}")
    return rscript


def write_models(folder: Path) -> Path:
    """The tiny models, and TensorFlow Serving's example ``half_plus_two`` under the name ``half``."""
    bundles.write_all(folder)
    script = HERE.parent / "tfserving/half_plus_two.py"
    subprocess.run([sys.executable, str(script), str(folder / "half/123")], check=True, capture_output=True)
    return folder


def run(name: str, server: Server) -> bool:
    """Run a client and print how it went."""
    begun = time.monotonic()
    addresses = server.http, server.grpc_target
    done = subprocess.run(
        [*command(name), *addresses], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    good = done.returncode == 0 and last.endswith(" calls")
    sys.stdout.write(f"{'ok' if good else 'FAILED':8}{name:24}{last}  ({time.monotonic() - begun:.0f} s)\n")
    if not good:
        sys.stdout.write(done.stdout[-4000:] + done.stderr[-8000:] + "\n")
    return good


def main(names: list[str]) -> None:
    if unknown := set(names) - set(NAMES):
        raise SystemExit(f"error: no such client: {', '.join(sorted(unknown))}\nhint:  {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as folder:
        # Every API of the server is asked, also those that change it.
        options = ("--model-control", "--version-policy", "all")
        with start(write_models(Path(folder)), *options) as server:
            results = [run(name, server) for name in names or NAMES]
            if server.process.poll() is not None:
                raise SystemExit("error: the server has ended")
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
