"""Runs the session of the R package's vignette and writes what it prints (``make r-vignette``).

The source is ``served-model.Rmd.orig`` in ``clients/r/vignettes``; ``served-model.Rmd`` has the output, too, so that
the package can be built where there is no server. A network for R's iris is trained with Keras 2, saved as HDF5,
exported, and served beside ``pretrained/``.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.r_package.check import find_r, install
from tests.servers import start

ROOT = Path(__file__).parents[3]
VIGNETTES = ROOT / "clients/r/vignettes"
#: Models of ``pretrained/`` that the session calls.
PRETRAINED = ("imdb_lstm", "mnist_convnet", "mnist_vae", "nietzsche_lstm")

TRAINING = """
import sys
import numpy as np
import tf_keras as keras

keras.utils.set_random_seed(1)
rows = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1)
x, y = rows[:, :4], keras.utils.to_categorical(rows[:, 4] - 1)
x = (x - x.mean(0)) / x.std(0, ddof=1)
model = keras.Sequential([
    keras.layers.Dense(16, activation="relu", input_shape=(4,), name="dense"),
    keras.layers.Dense(3, activation="softmax", name="classes"),
])
model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=40, batch_size=16, verbose=0)
model.save(sys.argv[2])
"""


def write_config(table: Path, path: Path) -> None:
    """``iris.toml``: names of columns, means and deviations of R's ``scale()``, and classes."""
    with table.open() as file:
        lines = list(csv.reader(file))
    names, columns = lines[0][:4], list(zip(*(map(float, line[:4]) for line in lines[1:]), strict=True))
    means = [sum(column) / len(column) for column in columns]
    deviations = [
        (sum((value - mean) ** 2 for value in column) / (len(column) - 1)) ** 0.5
        for column, mean in zip(columns, means, strict=True)
    ]
    mean, deviation = ([round(value, 4) for value in values] for values in (means, deviations))
    path.write_text(f"""labels = ["setosa", "versicolor", "virginica"]

[inputs]
input = [
  {{ step = "numbers", dtype = "float64", shape = [4], columns = [
      {", ".join(f'"{name}"' for name in names)} ] }},
  {{ step = "standardise", mean = {mean}, deviation = [
      {", ".join(map(str, deviation))} ] }},
]
""")


def main() -> None:
    rscript = find_r()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        library = install(directory / "library")
        table = directory / "iris.csv"
        change = "d <- iris; d$Species <- as.integer(d$Species); write.csv(d, commandArgs(TRUE), row.names = FALSE)"
        subprocess.run([rscript, "-e", change, table], check=True)
        subprocess.run([sys.executable, "-c", TRAINING, table, directory / "iris.h5"], check=True)
        write_config(table, directory / "iris.toml")
        for model in PRETRAINED:
            shutil.copytree(ROOT / "pretrained" / model, directory / "models" / model)
        shutil.copy(VIGNETTES / "served-model.Rmd.orig", directory)
        environment = {
            **os.environ,
            "R_LIBS": str(library),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        # The session exports before it calls, so the server must find the new model by itself.
        with start(directory / "models", "--poll", "0.2") as server:
            source = (directory / "served-model.Rmd.orig").read_text("utf-8")
            (directory / "session.Rmd").write_text(source.replace("http://127.0.0.1:8501", server.http), "utf-8")
            knit = 'knitr::knit("session.Rmd", "session.md", quiet = TRUE)'
            subprocess.run([rscript, "-e", knit], cwd=directory, env=environment, check=True)
            written = (directory / "session.md").read_text("utf-8").replace(server.http, "http://127.0.0.1:8501")
        (VIGNETTES / "served-model.Rmd").write_text(written.replace(str(directory), "."), "utf-8")
        for figure in directory.glob("served-model-*.png"):
            shutil.copy(figure, VIGNETTES)


if __name__ == "__main__":
    main()
