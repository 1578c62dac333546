# ruff: noqa: TID253 - imported only inside functions of the command line
"""Write the word vectors of an embedding for TensorBoard's projector (section 7.2.2).

They are tab-separated tables: the projector cannot read the checkpoint that Keras's own callback writes.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from bookserve.steps import Words
from bookserve.verb import Predict, Verb


def write_projector(folder: Path, model: keras.Model, verb: Verb) -> None:
    """Write ``words.tsv``, ``vectors.tsv`` and the projector's configuration file into ``folder``.

    Writes nothing if the model has no embedding of words.
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
