"""Write docs/models.md: graphs, ONNX operators, worst difference, size and run times of every model.

python bench/models.py MODELS     verify and measure every bundle in MODELS, and write docs/models.md (make table)
python bench/models.py --check    fail where docs/models.md has other columns or misses a task

Each bundle is checked as ``bookserve verify`` does. Then its ONNX files and its signatures run the same rows, one after
the other, in this process. ONNX Runtime has one thread, as in the server; TensorFlow has all.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from bookserve import bundle
from bookserve.bundle import Bundle
from bookserve.cli.terminal import silence_stderr
from bookserve.graph import Arrays
from bookserve.runtime.onnx import OnnxSession
from export.variants import timing

DOCUMENT = Path(__file__).parent.parent / "docs" / "models.md"
COLUMNS = (
    "task",
    "graph",
    "ONNX operators",
    "worst difference",
    "ONNX kB",
    "ONNX ms at 1",
    "TF ms at 1",
    "times",
    "ONNX ms at 32",
    "TF ms at 32",
    "times",
)
VARIANTS = ("task", "graph", "variant", "kB", "of float32", "faster at 1", "at 32", "deviation", "labels kept", "shift")
SECONDS = 0.5


@click.command()
@click.argument("models", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option(
    "--check",
    "checking",
    is_flag=True,
    help="Measure nothing; exit with 1 where the document has other columns or misses a task.",
)
def main(models: Path | None, checking: bool) -> None:
    """Write docs/models.md from the bundles in MODELS."""
    if checking:
        if problem := find_problem(DOCUMENT.read_text("utf-8")):
            raise click.ClickException(f"docs/models.md {problem}: write it with make table RUNS=…")
        return
    if models is None:
        raise click.UsageError("Name the directory of the bundles.")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence_stderr():
        import tensorflow as tf

        tf.zeros(1)
    lines, smaller = [], []
    for opened in (bundle.open_bundle(models, name) for name in sort_by_section(bundle.model_names(models))):
        for row in rows(opened):
            lines.append(row)
            click.echo(" | ".join(row), err=True)
        smaller += variants(opened)
    text = document(lines, smaller)
    if problem := find_problem(text):
        raise click.ClickException(f"the table {problem}; nothing was written")
    DOCUMENT.write_text(text, "utf-8")


def sort_by_section(names: list[str]) -> list[str]:
    """Names of models in the order of the book's sections; other models come last."""
    from trainers import catalogue

    order = [task.name for task in catalogue.load_tasks()]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def rows(opened: Bundle) -> Iterator[tuple[str, ...]]:
    """One line for each graph.

    Raises:
        ClickException: a graph does not pass its check.
    """
    from export.sources.saved_model import SavedModel
    from export.verify.verify import verify_bundle

    checks = {line.graph: line for line in verify_bundle(opened)}
    if wrong := next((line for line in checks.values() if not line.ok), None):
        raise click.ClickException(f"{wrong.model}, graph '{wrong.graph}': {wrong.problem}")
    saved = SavedModel(opened.path)
    examples = opened.examples().graphs
    for name, graph in opened.manifest.graphs.items():
        found = checks[name]
        differences = [d for d in (found.onnx_difference, found.saved_model_difference) if d is not None]
        path = opened.path / graph.onnx if graph.onnx else None
        times = []
        for count in (1, 32):
            feeds: Arrays | None = examples[name].inputs
            if graph.batched:
                feeds = timing.rows(examples[name].inputs, count)
            elif count > 1:
                feeds = None
            onnx = milliseconds(OnnxSession(path).run, feeds) if path else None
            tensorflow = milliseconds(partial(saved.run, name), feeds)
            times += [_number(onnx), _number(tensorflow), _number(tensorflow / onnx) if onnx and tensorflow else "–"]
        size = f"{path.stat().st_size / 1e3:,.0f}" if path else "–"
        counted = operators(path) if path else "none: TensorFlow runs it"
        yield (f"`{opened.name}`", f"`{name}`", counted, f"{max(differences):.1e}", size, *times)


def variants(opened: Bundle) -> Iterator[tuple[str, ...]]:
    """One line for each variant, as measured when it was exported."""
    for name, graphs in opened.manifest.variants.items():
        for graph, variant in graphs.items():
            before = (opened.path / str(opened.manifest.graphs[graph].onnx)).stat().st_size
            yield (
                f"`{opened.name}`",
                f"`{graph}`",
                name,
                f"{variant.bytes / 1e3:,.0f}",
                f"{variant.bytes / before:.0%}",
                *(f"{_number(variant.faster(rows))} ×" if variant.faster(rows) else "–" for rows in ("1", "32")),
                f"{variant.deviation:.1e}",
                f"{variant.agreement:.0%} of {variant.rows}" if variant.agreement is not None else "–",
                f"{variant.shift:.2g}" if variant.shift is not None else "–",
            )


def milliseconds(run: Any, feeds: Arrays | None) -> float | None:
    """The time of one run; None where there is nothing to feed."""
    return timing.in_turns({"": partial(run, feeds)}, SECONDS)[""] if feeds else None


def operators(path: Path) -> str:
    """How often each operator occurs in a file, inside loops and branches too."""
    import onnx

    def walk(graph: onnx.GraphProto) -> Iterator[str]:
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from walk(attribute.g)

    counts = Counter(walk(onnx.load(path).graph)).most_common()
    return ", ".join(f"{kind} {count}" if count > 1 else kind for kind, count in counts)


def document(lines: list[tuple[str, ...]], smaller: list[tuple[str, ...]]) -> str:
    """The whole of docs/models.md."""
    import onnxruntime
    import tensorflow as tf

    runtimes = (
        f"ONNX Runtime {onnxruntime.__version__} has one thread, TensorFlow {tf.__version__} all {os.cpu_count()}"
    )
    text = f"""# Every model, exported

Written by `make table` from the newest run of every task. Each bundle is verified; then its ONNX file and its
TensorFlow signature run the same rows. {runtimes}
of this machine ({platform.machine()}). “Worst difference” is the largest difference from what Keras gave when training
ended, row by row and in batches; “times” is how many times as fast ONNX Runtime is. Models trained on sample data are
smaller than the book's.

{_table(COLUMNS, lines)}
"""
    if smaller:
        text += f"""
## Smaller and faster variants

What `bookserve export --variant` wrote, compared with float32 on one thread at export. A variant that gains nothing or
changes the answers too much is refused and is not listed. “Deviation” is the root mean square of the differences,
relative to the spread of the outputs; “shift” is the mean change of the numbers that a person reads.

{_table(VARIANTS, smaller)}
"""
    return text


def find_problem(text: str) -> str:
    """What is wrong with the document; '' where its table has the right columns and every task of the catalogue."""
    from trainers import catalogue

    if f"| {' | '.join(COLUMNS)} |" not in text:
        return "has other columns"
    missing = [name for name in catalogue.task_names() if f"\n| `{name}` | `" not in text]
    return f"misses {', '.join(missing)}" if missing else ""


def _table(columns: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)])


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
