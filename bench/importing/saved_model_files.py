# ruff: noqa: B905, PTH103, PTH118, T201, TID253, UP031 - it runs with the Python of old environments
"""Write SavedModels with the TensorFlow of this environment, and its answers: ``python saved_model_files.py FOLDER``.

The models are those of ``keras2_files.py``, which lies beside this file, each trained for a step, so that the optimizer
and its slots are saved, too. TensorFlow 1 writes them as ``simple_save`` and R's tfdeploy do, from a session. Beside
the directory ``<name>`` lies ``<name>.npz``, as ``keras2_files.py`` writes it; inputs and outputs are in the order of
their names, since a SavedModel knows no other. It imports nothing else of the project.
"""

import argparse
import os
import re

import keras2_files
import numpy as np
import tensorflow as tf


def by_number(name):
    """Sort key: ``output_2`` goes before ``output_10``."""
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", name)]


def write(folder, name, build):
    made = build(keras2_files.layers())
    if tf.__version__[0] != "1" and not getattr(made, "optimizer", None):
        made.compile(optimizer="adam", loss="mse")
        rows = keras2_files.made_rows(made, 3)
        wanted = made.predict(rows if len(rows) > 1 else rows[0], batch_size=3)
        made.train_on_batch(rows if len(rows) > 1 else rows[0], wanted)
    keras2_files.made_weights(made, sum(map(ord, name)))
    rows = keras2_files.made_rows(made, 7)
    answers = made.predict(rows if len(rows) > 1 else rows[0], batch_size=3)
    answers = answers if isinstance(answers, list) else [answers]
    inputs = dict(zip(made.input_names, zip(made.inputs, rows)))
    outputs = dict(zip(made.output_names, zip(made.outputs, answers)))
    path = os.path.join(folder, name)
    if tf.__version__[0] == "1":
        session = keras2_files.KERAS.backend.get_session()
        tf.saved_model.simple_save(
            session, path, {n: pair[0] for n, pair in inputs.items()}, {n: pair[0] for n, pair in outputs.items()}
        )
    else:
        made.save(path, save_format="tf")
    arrays = {"x%d" % place: inputs[n][1] for place, n in enumerate(sorted(inputs, key=by_number))}
    arrays.update({"y%d" % place: outputs[n][1] for place, n in enumerate(sorted(outputs, key=by_number))})
    np.savez(path + ".npz", **arrays)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder")
    options.add_argument("--keras", default="tensorflow.keras", help="the package: keras or tensorflow.keras")
    options.add_argument("--only", nargs="*", default=[], help="names of models")
    chosen = options.parse_args()
    keras2_files.KERAS = tf.keras if chosen.keras == "tensorflow.keras" else __import__(chosen.keras)
    keras2_files.VERSION = tuple(int(part) for part in keras2_files.KERAS.__version__.split(".")[:2])
    os.makedirs(chosen.folder, exist_ok=True)
    for name, build in keras2_files.MODELS.items():
        if (chosen.only and name not in chosen.only) or name == "stateful":
            continue
        keras2_files.KERAS.backend.clear_session()
        try:
            write(chosen.folder, name, build)
        except Exception as error:
            print("%s: left out: %s: %s" % (name, type(error).__name__, str(error).split("\n")[0][:150]))


if __name__ == "__main__":
    main()
