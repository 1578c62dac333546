"""Measure bookserve on a GPU in at most eight minutes: every graph on both devices, served throughput, training.

python bench/gpu.py MODELS -o OUT [--write]     on a machine with an NVIDIA GPU; docs/how-to/gpu.md says what to install
python bench/gpu.py MODELS -o OUT --fake        a dry run without one: the GPU is fake, and so are its figures

MODELS holds bundles, such as ``pretrained``. OUT gets ``gpu.json`` and ``gpu.md``; ``--write`` puts the tables into
docs/performance.md, marked where the GPU was fake. The script needs no package index: a folder of wheels that was
carried there is enough. Parts that are not done in time are left out, and the report says so.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bookserve import bundle
from bookserve.bundle import Bundle, parity
from bookserve.cli.programs import python_command
from bookserve.errors import BookserveError
from bookserve.runtime import DeviceConfig, DeviceSession, open_session, resolve_device
from bookserve.runtime.base import DEFAULT_GRAPH, FixedSizeRuntime
from bookserve.runtime.composite import open_onnx
from bookserve.runtime.fixed_sizes import SIZES as FIXED_SIZES
from bookserve.runtime.fixed_sizes import takes_fixed_sizes, time_fixed
from bookserve.runtime.placement import GraphFacts, find_gpu_runtime
from bookserve.runtime.probe import probe
from bookserve.runtime.timing import SIZES, seconds, time_graph
from bookserve.verb import Generate, Predict, Sample
from clients.bench.samples import measure_samples
from clients.bench.tensors import measure_tensors
from clients.bench.texts import measure_texts

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- gpu -->", "<!-- /gpu -->"
#: Seconds from the start of the script after which no further graph, server or training is begun.
GRAPHS_UNTIL, SERVED_UNTIL, TRAINING_UNTIL = 170, 350, 450
#: Rows at which ``auto`` is compared with both devices: those that are timed, and some between them.
ROWS = (1, 4, 16, 32, 64, 200, 256)
#: Models that are served where MODELS has them: a convnet, VGG16's features, a decoder, an LSTM and texts.
SERVED = ("mnist_convnet", "cats_dogs_features", "imagenet_vgg16", "mnist_vae", "imdb_lstm", "nietzsche_lstm")
TRAINED = ("mnist_convnet", "imdb_lstm", "nietzsche_lstm", "mnist_vae", "cifar10_gan", "jena_gru")
DEVICES = ("cpu", "cuda", "auto")


@click.command()
@click.argument("models", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "out", type=click.Path(file_okay=False, path_type=Path), default=Path("gpu-bench"), show_default=True
)
@click.option(
    "--data", type=click.Choice(["real", "sample"]), default="sample", show_default=True, help="For training."
)
@click.option("--fake", is_flag=True, help="A dry run with a fake GPU.")
@click.option("--write", is_flag=True, help="Put the tables into docs/performance.md.")
def main(models: Path, out: Path, data: str, fake: bool, write: bool) -> None:
    """Measure, and write the report."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if fake:
            install_fake_gpu(Path(folder))
        _, gpus, problem = resolve_device(DeviceConfig("auto"))
        if problem:
            raise click.ClickException(f"{problem.message} {problem.hint}\nA dry run without a GPU: --fake")
        report: dict[str, Any] = {
            "fake": fake,
            "gpu": str(gpus[0]),
            "devices": probe(),
            "cores": os.cpu_count(),
            "graphs": list(graphs(models, start + GRAPHS_UNTIL)),
            "served": list(served(models, start + SERVED_UNTIL)),
            "training": list(training(data, start + TRAINING_UNTIL)),
        }
    report["seconds"] = round(time.monotonic() - start)
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(report, indent=1))
    tables = "\n".join(markdown(report))
    (out / "gpu.md").write_text(tables)
    click.echo(tables)
    if write:
        text = DOCUMENT.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", "utf-8")


def install_fake_gpu(folder: Path) -> None:
    """Make the fake GPU known to this process and to those that it starts, as an installed package would be."""
    (folder / "bookserve_fake_gpu-1.dist-info").mkdir()
    entry = "[bookserve.runtimes]\nfake-gpu = bookserve.runtime.fake_gpu:dry_run\n"
    (folder / "bookserve_fake_gpu-1.dist-info" / "entry_points.txt").write_text(entry)
    (folder / "bookserve_fake_gpu-1.dist-info" / "METADATA").write_text("Name: bookserve-fake-gpu\nVersion: 1\n")
    sys.path.append(str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder))))


def graphs(models: Path, until: float) -> Iterator[dict[str, Any]]:
    """One row for each graph with an ONNX form: how far the GPU is from the examples, times, and what ``auto`` does."""
    for name in bundle.model_names(models):
        opened = bundle.open_bundle(models, name)
        examples = opened.examples().graphs if "examples.npz" in opened.manifest.files else {}
        for graph, spec in opened.runnable.items():
            if time.monotonic() > until:
                yield {"model": name, "graph": graph, "problem": "no time was left"}
            elif spec.onnx and graph in examples:
                try:
                    yield {"model": name, "graph": graph, **measure_graph(opened, graph)}
                except BookserveError as error:
                    yield {"model": name, "graph": graph, "problem": error.message}


def measure_graph(opened: Bundle, name: str) -> dict[str, Any]:
    """Parity and milliseconds of one graph on both devices, and what ``auto`` loses against the better one."""
    example = opened.examples().graphs[name]
    facts = GraphFacts.of(opened, name, example.inputs)
    path = opened.path / str(facts.graph.onnx)
    runtime = find_gpu_runtime(path)
    assert runtime is not None  # noqa: S101 - main has found a GPU
    config = DeviceConfig("cuda")
    device = runtime.gpus()[0].device
    cpu, gpu = open_session(path), runtime.open_on_gpu(path, DEFAULT_GRAPH, device, config, 1)
    sizes = SIZES if facts.graph.batched else SIZES[:1]
    timings = time_graph(cpu, gpu, facts.feeds_of, sizes, runtime.clock, budget=1.5)
    auto = open_onnx(opened, name, device=DeviceConfig("auto"))
    row: dict[str, Any] = {
        "difference": parity.compare(example.outputs, gpu.run(example.inputs)).difference,
        "cpu_ms": {size: round(time_ * 1e3, 4) for size, time_ in timings.cpu.items()},
        "gpu_ms": {size: round(time_ * 1e3, 4) for size, time_ in timings.gpu.items()},
        "auto": auto.plan.gpu_from if isinstance(auto, DeviceSession) else None,
        "seeded": facts.seeded,
    }
    if isinstance(runtime, FixedSizeRuntime) and takes_fixed_sizes(facts.graph):
        try:
            fixed = runtime.open_fixed_sizes(path, facts.graph, FIXED_SIZES, device, config, 1)
            captured = time_fixed(gpu, fixed, facts.feeds_of, runtime.clock)
            row["cuda_graph_ms"] = {size: round(time_ * 1e3, 4) for size, time_ in captured.items()}
        except BookserveError as error:
            row["cuda_graph_problem"] = error.message
    if not facts.seeded and facts.graph.batched:
        losses = []
        for rows in ROWS:
            best = min(seconds(timings.cpu, rows), seconds(timings.gpu, rows))
            on_gpu = isinstance(auto, DeviceSession) and auto.plan.on_gpu(rows)
            losses.append(seconds(timings.gpu if on_gpu else timings.cpu, rows) / best - 1)
        row["auto_loses"] = round(max(losses), 3)
    return row


def served(models: Path, until: float) -> Iterator[dict[str, Any]]:
    """Served rows, pictures or characters a second of some models, on each device."""
    there = set(bundle.model_names(models))
    for name in (name for name in SERVED if name in there):
        for device in DEVICES:
            if time.monotonic() > until:
                yield {"model": name, "device": device, "problem": "no time was left"}
                continue
            try:
                for line in measure_served(models, name, device):
                    yield {"model": name, "device": device, **line}
            except BookserveError as error:
                yield {"model": name, "device": device, "problem": error.message}


def measure_served(models: Path, name: str, device: str) -> list[dict[str, Any]]:
    """The workloads of ``bookserve bench`` for a model, by its verb."""
    verb = bundle.open_bundle(models, name).manifest.verb
    if isinstance(verb, Generate):
        report = measure_texts(name, models, None, 1.0, [1, 32], with_keras=False, device=device)
    elif isinstance(verb, Sample):
        report = measure_samples(name, models, None, 0.6, [8], [1, 64], device)
    elif isinstance(verb, Predict):
        report = measure_tensors(name, models, None, 1.0, [1, 32], device)
    else:
        return []
    lines: list[dict[str, Any]] = report["workloads"]
    return lines


def training(data: str, until: float) -> Iterator[dict[str, Any]]:
    """Seconds of the second epoch of some tasks on both devices; the first one compiles."""
    for task in TRAINED:
        for device in ("cpu", "cuda"):
            left = until - time.monotonic()
            if left < 5:
                yield {"task": task, "device": device, "problem": "no time was left"}
                continue
            with tempfile.TemporaryDirectory() as runs:
                words = ("train", task, "--data", data, "--epochs", "2", "--device", device, "--runs", runs)
                try:
                    done = subprocess.run(
                        python_command("bookserve", *words), capture_output=True, text=True, timeout=left, check=False
                    )
                except subprocess.TimeoutExpired:
                    yield {"task": task, "device": device, "problem": "no time was left"}
                    continue
                epochs = [float(found) for found in re.findall(r"^epoch \d+/.*\((.*) s\)$", done.stdout, re.MULTILINE)]
                if done.returncode or not epochs:
                    lines = done.stderr.strip().splitlines() or ["it gave no reason"]
                    reason = next((line for line in lines if line.startswith("error: ")), lines[-1])
                    yield {"task": task, "device": device, "problem": reason.removeprefix("error: ")[:200]}
                    continue
                yield {"task": task, "device": device, "seconds": epochs[-1]}


def markdown(report: dict[str, Any]) -> Iterator[str]:
    """The tables of a report."""
    kind = "**A fake GPU: these figures say nothing of a real one.** " if report["fake"] else ""
    yield f"{kind}{report['gpu']}, {report['cores']} CPU cores, measured in {report['seconds']} s by `bench/gpu.py`.\n"
    yield (
        "| model, graph | difference | "
        + " | ".join(f"{size} rows: CPU / GPU / CUDA graph, ms" for size in (1, 32, 256))
        + " | auto |"
    )
    yield "|---|---|---|---|---|---|"
    for row in report["graphs"]:
        title = f"`{row['model']}` {row['graph']}"
        if "problem" in row:
            yield f"| {title} | {row['problem']} | | | | |"
            continue
        graph_ms = row.get("cuda_graph_ms", {})
        cells = [
            f"{_ms(row['cpu_ms'], size)} / {_ms(row['gpu_ms'], size)} / {_ms(graph_ms, size)}" for size in (1, 32, 256)
        ]
        auto = "CPU" if row["auto"] is None else f"GPU from {row['auto']}"
        yield f"| {title} | {row['difference']:.0e} | {' | '.join(cells)} | {auto} |"
    losses = [row["auto_loses"] for row in report["graphs"] if "auto_loses" in row]
    if losses:
        yield f"\n`auto` loses at most {max(losses):.0%} against the better device, over {len(losses)} graphs.\n"
    yield "| served model | device | workload | a second |"
    yield "|---|---|---|---|"
    for row in report["served"]:
        rate = row.get("samples/s") or row.get("characters/s") or row.get("problem")
        texts = f", {row['texts']} texts" if "texts" in row else ""
        yield f"| `{row['model']}` | {row['device']} | {row.get('workload', '')}{texts} | {rate} |"
    yield "\n| training | device | seconds an epoch |"
    yield "|---|---|---|"
    for row in report["training"]:
        yield f"| `{row['task']}` | {row['device']} | {row.get('seconds', row.get('problem'))} |"


def _ms(times: dict[int, float], size: int) -> str:
    return f"{times[size]:.3g}" if size in times else "–"


if __name__ == "__main__":
    main()
