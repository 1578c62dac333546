"""The commands ``bookserve export``, ``bookserve compose`` and ``bookserve verify``."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookserve.bundle import variant
from bookserve.cli.completion import complete_tasks
from bookserve.cli.terminal import (
    device_option,
    json_option,
    model_and_version,
    models_option,
    next_command,
    print_json,
    print_table,
    runs_option,
    silence_stderr,
)

if TYPE_CHECKING:
    from bookserve.bundle import Bundle
    from export.sources.source import Source
    from export.verify.verify import Check
    from export.write import WrittenBundle


@click.command()
@click.argument("sources", nargs=-1, metavar="TASK|RUN|MODEL...", shell_complete=complete_tasks)
@click.option("--all", "every", is_flag=True, help="Export the newest finished run of every task in --runs.")
@models_option
@runs_option
@click.option("--name", help="Name of the model.  [default: the name of the task, directory or file]")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file with the labels, Steps, summary and licence of an external model.",
)
@click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HDF5 file of the weights, where MODEL is an architecture in JSON.",
)
@click.option(
    "--trust-module",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Python file with your own layers, which a .keras file needs. It is run, in a process of its own.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(list(variant.VARIANTS)),
    help="Also write a smaller or faster variant, kept if it is accurate enough. May be repeated.",
)
def export(
    sources: tuple[str, ...],
    every: bool,
    models: Path,
    runs: Path,
    name: str | None,
    config: Path | None,
    weights: Path | None,
    trust_module: Path | None,
    variants: tuple[str, ...],
) -> None:
    """Export trained or external models as bundles.

    A source is a task (its newest finished run), a run (task/time or its directory), or an external model, which
    bookserve did not train: the directory of a SavedModel, a .keras, .h5 or .onnx file, or the .json file of a Keras
    architecture with --weights. The content of a file decides, not its name.

    Each source becomes the next version of its model, with a SavedModel, ONNX files, examples, warm-up requests and a
    model card. It is published only if SavedModel and ONNX give the same answers as Keras. An external ONNX file is
    published without a SavedModel.
    """
    if bool(sources) is every:
        raise click.UsageError("Name one or more sources, or use --all.")
    options = {"--name": name, "--config": config, "--weights": weights, "--trust-module": trust_module}
    single = next((option for option, value in options.items() if value), "")
    if single and (len(sources) > 1 or every):
        raise click.UsageError(f"{single} can only be used with a single source.")
    from bookserve.errors import BookserveError, Failed
    from export.sources.source import find_source, find_sources

    # Find all sources before the first is written.
    found = (
        find_sources(runs)
        if every
        else [find_source(source, runs, name, config, weights, trust_module) for source in sources]
    )
    _prepare(found)
    _import_tensorflow()
    from export.write import write_bundle

    failed: list[str] = []
    for source in found:
        try:
            written = write_bundle(source, models, variants)
        except BookserveError as error:
            if not every:
                raise
            failed.append(source.name)
            click.echo(f"{source.name}: NOT EXPORTED: {error.message}")
            continue
        click.echo(_summary_line(written))
        for note in written.notes:
            click.echo(f"  {note}")
    if len(failed) < len(found):
        next_command(f"bookserve serve {models}", f"bookserve models --models {models}")
    if failed:
        raise Failed(
            f"{len(failed)} of {len(found)} tasks were not exported: {', '.join(failed)}.",
            "The others were exported. To see the hint for one of these, export it by name.",
        )


def _prepare(sources: list[Source]) -> None:
    """Refuse files of an older Keras before TensorFlow is imported; start what rebuilds them, which imports it, too."""
    old = [source for source in sources if source.kind in ("hdf5", "keras2", "architecture")]
    if old:
        from export.sources.old_keras.pool import start_process
        from export.sources.old_keras.rebuilt import check_file

        plans = [check_file(source.path, source.weights, source.config.backend) for source in old]
        start_process(plans[0].keras)


def _summary_line(written: WrittenBundle) -> str:
    bundle = written.bundle
    return (
        f"{bundle.name}/{bundle.version}: {', '.join(bundle.manifest.graphs)}; {bundle.size / 1e6:.1f} MB, "
        f"largest difference {written.difference:.1e}, {written.seconds:.1f} s -> {bundle.path}"
    )


def _parse_member(text: str) -> tuple[str, int | None, float]:
    """Parse the argument ``MODEL[/VERSION][=SHARE]`` into name, version (or None) and share (by default 1)."""
    named, equals, share = text.partition("=")
    try:
        weight = float(share) if equals else 1.0
    except ValueError:
        raise click.BadParameter(f"the share '{share}' in '{text}' is not a number. Example: MODEL=0.5") from None
    return *model_and_version(named), weight


@click.command()
@click.argument("name")
@click.argument("members", type=_parse_member, nargs=-1, required=True, metavar="MODEL[/VERSION][=SHARE]...")
@models_option
def compose(name: str, members: tuple[tuple[str, int | None, float], ...], models: Path) -> None:
    """Combine models into one composite, NAME, that averages their answers.

    The composite answers with the weighted mean of its members' answers. A member without a SHARE counts 1. The members
    stay models of their own, and a server loads each only once. The composite always uses the member versions that it
    was made from; compose it again to use newer ones.
    """
    from export.compose import compose_models

    bundle, difference = compose_models(models, name, members)
    click.echo(
        f"{bundle.name}/{bundle.version}: {bundle.manifest.summary}, largest difference {difference:.1e} "
        f"-> {bundle.path}"
    )
    next_command(f"bookserve serve {models}", f"bookserve models --models {models}")


@click.command()
@click.argument("names", type=model_and_version, nargs=-1, metavar="MODEL[/VERSION]...")
@click.option("--all", "every", is_flag=True, help="Verify the newest version of every model.")
@models_option
@device_option("cpu", "Where ONNX runs; with auto also on the GPU, if one can be used.")
@json_option
def verify(names: tuple[tuple[str, int | None], ...], every: bool, models: Path, device: str, as_json: bool) -> None:
    """Verify that a bundle is complete, and that its ONNX and SavedModel agree.

    Compares every file with its checksum. Then runs the bundle's examples through SavedModel and ONNX, and compares
    both with the answers that Keras gave at the end of training. The exit code is 1 if a difference is larger than the
    tolerance.
    """
    if bool(names) is every:
        raise click.UsageError("Name one or more models, or use --all.")
    from bookserve import bundle
    from bookserve.errors import Failed
    from bookserve.runtime import DeviceConfig, resolve_device
    from bookserve.runtime.devices import AUTO, CPU, CUDA

    found_device, _, _ = resolve_device(DeviceConfig.of(device))
    gpu = "" if found_device.name == CPU else CUDA if found_device.name == AUTO else found_device.name

    bundles = _open_newest_bundles(models) if every else [bundle.open_bundle(models, *name) for name in names]
    if any("saved_model.pb" in found.manifest.files for found in bundles):
        _import_tensorflow(hide_gpus=not gpu)
    from export.verify.verify import verify_bundle

    checks = [line for found in bundles for line in verify_bundle(found, gpu)]
    if as_json:
        print_json([{**line._asdict(), "ok": line.ok} | _infinite_as_none(line) for line in checks])
    else:
        forms = ("SavedModel", "ONNX", *([f"ONNX on {gpu}"] if gpu else []))
        columns = ("model", "version", "graph", "rows", *forms, "tolerance", "ok")
        rows = (_table_cells(line, bool(gpu)) for line in checks)
        print_table(columns, rows, title="largest difference from the expected outputs")
    wrong = [line for line in checks if not line.ok]
    if wrong:
        first = wrong[0]
        where = f"{first.model}/{first.version}" + (f", graph '{first.graph}'" if first.graph != "–" else "")
        raise Failed(
            f"{len(wrong)} of {len(checks)} checks failed. {where}: {first.problem}.",
            "Do not serve this bundle. Copy it again or export it again.",
        )
    if not as_json:
        next_command(f"bookserve serve {models}")


def _open_newest_bundles(models: Path) -> list[Bundle]:
    from bookserve import bundle
    from bookserve.errors import NotFound

    names = bundle.model_names(models)
    if not names:
        raise NotFound(f"there is no model in {models}.", "Export one first: bookserve export TASK")
    return [bundle.open_bundle(models, name) for name in names]


def _table_cells(line: Check, with_gpu: bool) -> tuple[Any, ...]:
    found = (line.saved_model_difference, line.onnx_difference, *([line.gpu_difference] if with_gpu else []))
    sizes = (f"{d:.1e}" if d is not None else None for d in found)
    verdict = "yes" if line.rows or line.problem else "no example"
    return (line.model, line.version, line.graph, line.rows, *sizes, line.tolerance, verdict if line.ok else "NO")


def _infinite_as_none(line: Check) -> dict[str, Any]:
    """Return the infinite differences as None: arrays of different shapes differ infinitely; JSON has no infinity."""
    fields = ("saved_model_difference", "onnx_difference", "gpu_difference")
    return {f: None for f in fields if (value := getattr(line, f)) is not None and math.isinf(value)}


def _import_tensorflow(*, hide_gpus: bool = True) -> None:
    """Import TensorFlow for the CPU, without the log lines that it writes to standard error.

    ``hide_gpus`` hides the GPUs from everything else in this process, too.
    """
    if hide_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence_stderr():
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # its devices are chosen already
            tf.config.set_visible_devices([], "GPU")
        tf.zeros(1)  # the first operation searches for devices, which TensorFlow logs, too
