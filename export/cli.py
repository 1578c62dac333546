"""The commands ``bookserve export``, ``bookserve compose`` and ``bookserve verify``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookserve.bundle import variant
from bookserve.cli.terminal import (
    json_option,
    model_and_version,
    models_option,
    print_json,
    print_table,
    runs_option,
    silence_stderr,
)

if TYPE_CHECKING:
    from bookserve.bundle import Bundle
    from export.verify.verify import Check
    from export.write import Written


@click.command()
@click.argument("sources", nargs=-1, metavar="TASK|RUN|MODEL...")
@click.option("--all", "every", is_flag=True, help="The newest finished run of every task in --runs.")
@models_option
@runs_option
@click.option("--name", help="Name of the model, where it is not to be called as the task or the directory.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file with labels, Steps, a summary and the licence of a model made elsewhere.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(list(variant.VARIANTS)),
    help="A smaller or faster form beside the float32 one, kept if the model still answers alike; may be repeated.",
)
def export(
    sources: tuple[str, ...],
    every: bool,
    models: Path,
    runs: Path,
    name: str | None,
    config: Path | None,
    variants: tuple[str, ...],
) -> None:
    """Write runs or anyone's models as servable bundles.

    A source is a task (its newest finished run), a run (task/time or its directory), or a model that bookserve never
    trained: the directory of a SavedModel, a .keras file or an .onnx file. Each becomes the next version of its model:
    SavedModel, ONNX, examples, warm-up requests and a model card, published only after both forms answered as Keras
    did. A model that comes as ONNX has no other form.
    """
    if bool(sources) is every:
        raise click.UsageError("Name sources, or give --all.")
    if (name or config) and (len(sources) > 1 or every):
        raise click.UsageError(f"{'--name' if name else '--config'} goes with a single source.")
    from bookserve.errors import BookserveError, Failed
    from export.sources.source import find_source, find_sources

    # All of them are looked for before the first is written.
    found = find_sources(runs) if every else [find_source(source, runs, name, config) for source in sources]
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
        click.echo(_line(written))
        for note in written.notes:
            click.echo(f"  {note}")
    if failed:
        raise Failed(
            f"{len(failed)} of {len(found)} tasks were not exported: {', '.join(failed)}.",
            "Export one of them by name to see why; the others are there.",
        )


def _line(written: Written) -> str:
    bundle = written.bundle
    return (
        f"{bundle.name}/{bundle.version}: {', '.join(bundle.manifest.graphs)}; {bundle.size / 1e6:.1f} MB, "
        f"worst difference {written.difference:.1e}, {written.seconds:.1f} s -> {bundle.path}"
    )


def _member(text: str) -> tuple[str, int | None, float]:
    """``MODEL[/VERSION][=SHARE]``, as the type of an argument."""
    named, equals, share = text.partition("=")
    try:
        counts = float(share) if equals else 1.0
    except ValueError:
        raise click.BadParameter(f"'{share}' is no share; '{text}' is to be MODEL=0.5, say.") from None
    return *model_and_version(named), counts


@click.command()
@click.argument("name")
@click.argument("members", type=_member, nargs=-1, required=True, metavar="MODEL[/VERSION][=SHARE]...")
@models_option
def compose(name: str, members: tuple[tuple[str, int | None, float], ...], models: Path) -> None:
    """Make models that lie side by side one composite model, NAME.

    It answers with the weighted mean of what its members answer; shares are 1 where none are given. The members stay
    models of their own, which a server runs once for both. A composite keeps to the versions it was made of: compose
    it again to take newer ones.
    """
    from export.compose import compose_models as write

    bundle, difference = write(models, name, members)
    click.echo(
        f"{bundle.name}/{bundle.version}: {bundle.manifest.summary}, worst difference {difference:.1e} -> {bundle.path}"
    )


@click.command()
@click.argument("names", type=model_and_version, nargs=-1, metavar="MODEL[/VERSION]...")
@click.option("--all", "every", is_flag=True, help="Every model's newest version.")
@models_option
@json_option
def verify(names: tuple[tuple[str, int | None], ...], every: bool, models: Path, as_json: bool) -> None:
    """Prove that a bundle's ONNX and SavedModel agree.

    Compares every file with its checksum, then runs the bundle's examples through SavedModel and ONNX and compares
    both with what Keras gave at the end of training. Exits with 1 on any difference past tolerance.
    """
    if bool(names) is every:
        raise click.UsageError("Name models, or give --all.")
    from bookserve import bundle
    from bookserve.errors import Failed

    bundles = _find_all(models) if every else [bundle.open_bundle(models, *name) for name in names]
    if any("saved_model.pb" in found.manifest.files for found in bundles):
        _import_tensorflow()
    from export.verify.verify import verify_bundle

    checks = [line for found in bundles for line in verify_bundle(found)]
    if as_json:
        print_json([{**line._asdict(), "ok": line.ok} | _finite(line) for line in checks])
    else:
        columns = ("model", "version", "graph", "rows", "SavedModel", "ONNX", "tolerance", "ok")
        print_table(columns, (_cells(line) for line in checks), title="largest difference from the expected outputs")
    wrong = [line for line in checks if not line.ok]
    if wrong:
        first = wrong[0]
        where = f"{first.model}/{first.version}" + (f", graph '{first.graph}'" if first.graph != "–" else "")
        raise Failed(
            f"{len(wrong)} of {len(checks)} checks failed. {where}: {first.problem}.",
            "Do not serve this bundle: copy it again, or export it again.",
        )


def _find_all(models: Path) -> list[Bundle]:
    from bookserve import bundle
    from bookserve.errors import NotFound

    names = bundle.model_names(models)
    if not names:
        raise NotFound(f"there is no model in {models}.", "Write some with: bookserve export")
    return [bundle.open_bundle(models, name) for name in names]


def _cells(line: Check) -> tuple[Any, ...]:
    sizes = (f"{d:.1e}" if d is not None else None for d in (line.saved_model_difference, line.onnx_difference))
    verdict = "yes" if line.rows or line.problem else "no example"
    return (line.model, line.version, line.graph, line.rows, *sizes, line.tolerance, verdict if line.ok else "NO")


def _finite(line: Check) -> dict[str, Any]:
    """JSON has no infinity, which is the difference between arrays of other shapes."""
    fields = ("saved_model_difference", "onnx_difference")
    return {f: None for f in fields if (value := getattr(line, f)) is not None and math.isinf(value)}


def _import_tensorflow() -> None:
    """Import TensorFlow for work on the CPU and without its greetings."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence_stderr():
        import tensorflow as tf

        tf.zeros(1)  # the first operation looks for devices, which TensorFlow also tells
