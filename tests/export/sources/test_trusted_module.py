"""Test models with classes of the user's own, which come from a Python file that he names and trusts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bookserve.bundle import open_bundle
from bookserve.errors import InvalidInput, NotFound
from bookserve.runtime.onnx import OnnxSession
from export.sources.source import find_source

MODULE = """
import keras
print("hello from the module")

def half(x):
    return 0.5 * x

@keras.saving.register_keras_serializable("mine")
class Scale(keras.layers.Layer):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor
    def build(self, shape):
        self.weight = self.add_weight(shape=(shape[-1],), initializer="ones")
    def call(self, x):
        return x * self.weight * self.factor
    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

class Net(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.scale, self.out = Scale(2.0), keras.layers.Dense(1, half, kernel_initializer="ones")
    def call(self, x):
        return self.out(self.scale(x))
    def get_config(self):
        return {}
"""
MAKE = """
import sys, numpy as np, keras, layers
x = keras.Input((3,), name="x")
dense = keras.layers.Dense(1, layers.half, kernel_initializer="ones", name="y")
keras.Model(x, dense(layers.Scale(3.0)(x))).save("f.keras")
net = layers.Net()
net(np.ones((2, 3), "float32"))
net.save("net.keras")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``layers.py``, a functional model ``f.keras`` and a subclass ``net.keras``."""
    directory = tmp_path_factory.mktemp("own")
    (directory / "layers.py").write_text(MODULE)
    subprocess.run([sys.executable, "-c", MAKE], check=True, capture_output=True, cwd=directory)
    return directory


@pytest.mark.parametrize(("file", "factor"), [("f", 3.0), ("net", 2.0)])
def test_the_module_brings_the_classes(bookserve, made: Path, models: Path, file: str, factor: float) -> None:
    path, module = made / f"{file}.keras", made / "layers.py"
    code, out, err = bookserve("export", path, "--trust-module", module, "--models", models)
    assert (code, err) == (0, "")
    assert "hello" not in out
    bundle = open_bundle(models, file)
    (name,) = bundle.graph()[1].inputs
    (answer,) = OnnxSession(bundle.path / "model.onnx").run({name: np.ones((2, 3), np.float32)}).values()
    np.testing.assert_allclose(answer, np.full((2, 1), 1.5 * factor))


def test_without_it_the_hint_names_the_option(bookserve, made: Path, models: Path) -> None:
    code, _, err = bookserve("export", made / "f.keras", "--models", models)
    assert code != 0
    assert "--trust-module" in err


def test_what_does_not_fit_is_refused(tensorflow, made: Path, models: Path, tmp_path: Path) -> None:
    from export.write import write_bundle

    (tmp_path / "broken.py").write_text("raise ValueError('no')")
    (tmp_path / "empty.py").write_text("")
    for module, says in (("broken.py", r"broken.py cannot be run: ValueError: no"), ("empty.py", "the class 'Scale'")):
        with pytest.raises(InvalidInput, match=says):
            write_bundle(find_source(str(made / "f.keras"), tmp_path, trusted_module=tmp_path / module), models)
    with pytest.raises(NotFound, match=r"no file .*none\.py"):
        find_source(str(made / "f.keras"), tmp_path, trusted_module=tmp_path / "none.py")
    assert not list(models.glob("*/[0-9]*"))
