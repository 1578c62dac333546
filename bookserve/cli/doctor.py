"""``bookserve doctor``: what this machine has for serving and training, what is missing, and how to get it.

Every library is tried in a process of its own: one that ends its process, or waits for ever, is then one line of the
report. This file knows only what the report looks like; ``bookserve/runtime/probe.py`` tries ONNX Runtime,
``trainers/cli/probe.py`` TensorFlow, JAX and the data sets.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click

from bookserve import __version__
from bookserve.cli.programs import python_command
from bookserve.cli.terminal import json_option, models_option, next_command, print_json

#: Seconds after which a library that does not answer counts as broken.
_SECONDS = 300
#: Packages that serving and training import, besides ONNX Runtime and the backends of Keras.
_SERVING = ("grpc", "hpack", "httptools", "orjson", "prometheus_client", "scipy", "simdjson", "starlette", "uvicorn")
_TRAINING = ("keras", "matplotlib", "scipy", "sklearn")
_PORTS = {8501: "HTTP", 8500: "gRPC"}

#: How a line of the report stands: it works, it is worth knowing, or it is missing.
OK, NOTE, BAD = "ok", "note", "bad"
_MARKS = {OK: ("✓", "green"), NOTE: ("·", "yellow"), BAD: ("✗", "red")}


class Line(NamedTuple):
    """One line of the report."""

    section: str
    name: str
    state: str
    text: str
    hint: str = ""


@click.command()
@models_option
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["serve", "train", "both"]),
    default="both",
    show_default=True,
    help="What must work for the exit code 0.",
)
@json_option
def doctor(models: Path, purpose: str, as_json: bool) -> None:
    """Show whether serving and training will work on this machine, on which devices, and what is missing.

    ONNX Runtime, TensorFlow and JAX each multiply two matrices on every device that they find. The exit code is 0 if
    what --for names will work, else 1.
    """
    with ThreadPoolExecutor(3) as threads:
        probes = {
            name: threads.submit(_run_probe, *words)
            for name, words in {
                "onnx": ("bookserve.runtime.probe",),
                "tensorflow": ("trainers.cli.probe", "tensorflow"),
                "jax": ("trainers.cli.probe", "jax"),
                "data": ("trainers.cli.probe", "data"),
            }.items()
            if name not in ("tensorflow", "jax") or importlib.util.find_spec(name)
        }
        found = {name: probe.result() for name, probe in probes.items()}
    lines = [
        *_machine(),
        *_driver(),
        *_libraries(),
        *_runtimes(found),
        *_data(found["data"]),
        *_models(models),
        *_ports(),
    ]
    serving, training = _missing_for_serving(found), _missing_for_training(found)
    works = {"serve": not serving, "train": not training, "both": not serving and not training}[purpose]
    if as_json:
        print_json(
            {
                "serve": {"works": not serving, "missing": serving},
                "train": {"works": not training, "missing": training},
                "lines": [line._asdict() for line in lines],
                "probes": found,
            }
        )
    else:
        _print(lines, serving, training)
        if works:
            next_command("bookserve demo" if purpose != "train" else "bookserve train mnist_dense --data sample")
    if not works:
        click.get_current_context().exit(1)


def _run_probe(module: str, *arguments: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            python_command(module, *arguments), capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"problem": f"it does not answer within {_SECONDS} s.", "hint": ""}
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        return {"problem": f"its process ended with code {done.returncode}: {last[:200]}.", "hint": ""}
    return found


def _machine() -> list[Line]:
    section = "machine"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lines = [
        Line(section, "bookserve", OK, f"{__version__} in {Path(sys.prefix)}"),
        Line(section, "Python", OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Line(section, "cores", OK, str(cores)),
    ]
    if (memory := _memory()) is not None:
        total, free = (size / 2**30 for size in memory)
        lines.append(Line(section, "memory", OK if free > 1 else NOTE, f"{total:.1f} GiB, {free:.1f} GiB available"))
    return lines


def _memory() -> tuple[int, int] | None:
    """Bytes of memory in all, and available; None where the system does not say."""
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(rows["MemTotal"].split()[0]) * 1024, int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _driver() -> list[Line]:
    from bookserve.runtime.cuda import read_driver
    from bookserve.runtime.devices import DeviceUnavailable

    section = "NVIDIA"
    try:
        driver = read_driver()
    except DeviceUnavailable as error:
        return [Line(section, "driver", NOTE, error.message, error.hint)]
    cuda = ".".join(map(str, driver.cuda))
    lines = [Line(section, "driver", OK, f"{driver.version or 'installed'}, runs CUDA up to {cuda}")]
    for gpu in driver.gpus:
        lines.append(
            Line(section, gpu.device, OK, f"{gpu.name}, {gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free")
        )
    return lines


def _libraries() -> list[Line]:
    """CUDA's libraries and cuDNN where they are Python packages. Two packages of cuDNN overwrite each other's files."""
    from importlib.metadata import distributions

    names = ((one.name or "", one.version) for one in distributions())
    packages = {name: version for name, version in names if name.startswith("nvidia-")}
    if not packages:
        return []
    shown = {name: version for name, version in packages.items() if "cudnn" in name or "cuda-runtime" in name}
    text = f"{len(packages)} packages: " + ", ".join(f"{name} {version}" for name, version in sorted(shown.items()))
    if sum("cudnn" in name for name in packages) < 2:
        return [Line("NVIDIA", "libraries", OK, text.removesuffix(": "))]
    hint = "Serve and train with TensorFlow from two environments: docs/how-to/gpu.md says which packages fit together."
    return [Line("NVIDIA", "libraries", BAD, f"{text}; those of cuDNN overwrite each other's files", hint)]


def _runtimes(found: dict[str, dict[str, Any]]) -> list[Line]:
    lines = []
    for name, title in (("onnx", "ONNX Runtime"), ("tensorflow", "TensorFlow"), ("jax", "JAX")):
        if name not in found:
            lines.append(Line(title, "", NOTE, "is not installed"))
            continue
        probe = found[name]
        if "problem" in probe:
            lines.append(Line(title, "", BAD, probe["problem"], probe.get("hint", "")))
            continue
        lines.append(Line(title, "version", OK, probe["package"]))
        for device in probe["devices"]:
            name = " ".join(filter(None, (device["device"], device.get("name", "").removeprefix(device["device"]))))
            if "problem" in device:
                lines.append(Line(title, name, BAD, device["problem"], device.get("hint", "")))
            else:
                lines.append(Line(title, name, OK, f"512 × 512 matrix product in {device['milliseconds']:.2f} ms"))
        if "gpu_problem" in probe:
            lines.append(Line(title, "GPU", NOTE, probe["gpu_problem"], probe["hint"]))
    return lines


def _data(probe: dict[str, Any]) -> list[Line]:
    section = "data"
    if "problem" in probe:
        return [Line(section, "", NOTE, f"training is not installed: {probe['problem']}", probe.get("hint", ""))]
    there = [one["name"] for one in probe["sets"] if one["found"]]
    later = [one["name"] for one in probe["sets"] if not one["found"] and one["downloaded"]]
    missing = [f"{one['name']} ({one['tasks']})" for one in probe["sets"] if not one["found"] and not one["downloaded"]]
    lines = [Line(section, "found", OK if there else NOTE, f"{', '.join(there) or 'none'} in {probe['place']}")]
    if later:
        lines.append(Line(section, "downloaded at first use", OK, ", ".join(later)))
    if missing:
        hint = "docs/reference/data.md says where they belong; --data sample needs none."
        lines.append(Line(section, "missing", NOTE, ", ".join(missing), hint))
    return lines


def _models(models: Path) -> list[Line]:
    from bookserve.client.wires.local import list_bundles

    section = "models"
    if not models.is_dir():
        hint = "bookserve export TASK writes models. Without any, bookserve serve has those that come with it."
        return [Line(section, str(models), NOTE, "there is no such directory", hint)]
    bundles, errors = list_bundles(models)
    lines = [Line(section, str(models), OK if bundles else NOTE, f"{len(bundles)} models can be served")]
    return lines + [Line(section, "", BAD, error.message, error.hint) for error in errors]


def _ports() -> list[Line]:
    lines = []
    for port, protocol in _PORTS.items():
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
                lines.append(Line("ports", str(port), OK, f"free ({protocol})"))
            except OSError as error:
                option = f"--{protocol.lower()}-port"
                lines.append(Line("ports", str(port), NOTE, f"{error.strerror} ({protocol})", f"Use {option} PORT."))
    return lines


def _missing_for_serving(found: dict[str, dict[str, Any]]) -> list[str]:
    """What keeps the server from working: packages, or ONNX Runtime on the CPU."""
    missing = [package for package in _SERVING if importlib.util.find_spec(package) is None]
    probe = found["onnx"]
    works = any(device["device"] == "cpu" and "problem" not in device for device in probe.get("devices", ()))
    return missing + ([] if works else ["ONNX Runtime"])


def _missing_for_training(found: dict[str, dict[str, Any]]) -> list[str]:
    """What keeps training from working: packages, or a backend of Keras."""
    missing = [package for package in _TRAINING if importlib.util.find_spec(package) is None]
    wanted = os.environ.get("KERAS_BACKEND", "tensorflow")
    backends = [wanted] if wanted in found else ["tensorflow", "jax"]
    works = any("devices" in found.get(name, {}) for name in backends)
    return missing + ([] if works else ["TensorFlow"])


def _print(lines: list[Line], serving: list[str], training: list[str]) -> None:
    width = max(len(line.name) for line in lines)
    section = ""
    for line in lines:
        if line.section != section:
            section = line.section
            click.secho(f"\n{section}" if line is not lines[0] else section, bold=True)
        mark, colour = _MARKS[line.state]
        click.echo(f"  {click.style(mark, fg=colour)} {line.name:{width}}  {line.text}")
        if line.hint:
            click.echo(f"    {'':{width}}  {click.style(line.hint, fg='cyan')}")
    click.echo()
    for verb, missing, extra in (("serving", serving, "serve,client"), ("training", training, "train")):
        if missing:
            hint = f"pip install 'bookserve[{extra}]'"
            click.echo(f"{click.style('✗', fg='red')} {verb} will not work: {', '.join(missing)} missing. {hint}")
        else:
            click.echo(f"{click.style('✓', fg='green')} {verb} will work")
