# ruff: noqa: TID253 - imported only inside functions of the command line
"""Projector: the words of an embedding as points for TensorBoard's projector (section 7.2.2).

Keras's own callback writes a checkpoint that the projector cannot read; tables of tab-separated values it can.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from bookserve.steps import Words
from bookserve.verb import Predict, Verb


def write_projector(folder: Path, model: keras.Model, verb: Verb) -> None:
    """Write ``words.tsv`` and ``vectors.tsv`` into ``folder``, and the file that tells TensorBoard of them.

    Nothing is written for a model without an embedding of words.
    """
    embeddings = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    steps = [step for steps in verb.inputs.values() for step in steps] if isinstance(verb, Predict) else []
    vocabularies = [step.vocabulary for step in steps if isinstance(step, Words)]
    if not (embeddings and vocabularies):
        return
    vectors = np.asarray(embeddings[0].embeddings)
    words = vocabularies[0].entries[: len(vectors)]
    folder.mkdir(exist_ok=True)
    (folder / "words.tsv").write_text("\n".join(words) + "\n", "utf-8")
    np.savetxt(folder / "vectors.tsv", vectors[: len(words)], "%.6g", delimiter="\t")
    (folder / "projector_config.pbtxt").write_text(
        f'embeddings {{\n  tensor_name: "{embeddings[0].name}"\n  tensor_path: "vectors.tsv"\n'
        '  metadata_path: "words.tsv"\n}\n',
        "utf-8",
    )
