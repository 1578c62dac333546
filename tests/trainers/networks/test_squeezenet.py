"""SqueezeNet has the published architecture, and loads weights in the layout of the published files."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from bookserve.errors import Failed, NotFound
from trainers.networks.squeezenet import build_squeezenet

#: Channels in, squeezed and expanded to (twice) of each fire module. Source: table 1 of arXiv 1602.07360.
FIRES = {
    2: (64, 16, 64),
    3: (128, 16, 64),
    4: (128, 32, 128),
    5: (256, 32, 128),
    6: (256, 48, 192),
    7: (384, 48, 192),
    8: (384, 64, 256),
    9: (512, 64, 256),
}
#: Side of the maps for a picture of 227 × 227 pixels.
SIDES = {"conv1": 113, "pool1": 56, "fire2": 56, "fire3": 56, "pool3": 27, "fire5": 27, "pool5": 13, "fire9": 13}


def kernels() -> dict[str, tuple[int, ...]]:
    """Shapes of all kernels by the file's name of the layer, in its order."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (3, 3, 3, 64)}
    for number, (given, squeezed, expanded) in FIRES.items():
        shapes |= {
            f"fire{number}/squeeze1x1": (1, 1, given, squeezed),
            f"fire{number}/expand1x1": (1, 1, squeezed, expanded),
            f"fire{number}/expand3x3": (3, 3, squeezed, expanded),
        }
    return shapes


def write(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A file as Keras 1 wrote it: no ``model_weights``, no version; layers without weights stand among the others."""
    rng = np.random.default_rng(0)
    made = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    with h5py.File(path, "w") as file:
        names = ["input_1"]
        for number, (name, kernel) in enumerate(made.items(), 1):
            names += [name, f"{name}_relu"]
            group = file.create_group(name)
            weights = [f"uniform{number}", f"{name}_b"]
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            group[weights[0]] = kernel
            group[weights[1]] = np.full(kernel.shape[-1], number, np.float32)
        for name in set(names) - set(made):
            file.create_group(name).attrs["weight_names"] = np.array([], "S1")
        file.attrs["layer_names"] = [name.encode() for name in names]
    return made


def test_the_architecture_is_the_published_one() -> None:
    model = build_squeezenet("none")
    assert model.count_params() == sum(int(np.prod(shape)) + shape[-1] for shape in kernels().values()) == 722_496
    seen = keras.Model(model.input, {name: model.get_layer(name).output for name in SIDES})(np.zeros((1, 227, 227, 3)))
    assert {name: maps.shape[1] for name, maps in seen.items()} == SIDES
    assert seen["fire9"].shape == (1, 13, 13, 512)
    for number, (_, _, expanded) in FIRES.items():
        assert model.get_layer(f"fire{number}").output.shape[-1] == 2 * expanded


def test_every_weight_goes_where_it_belongs(tmp_path: Path) -> None:
    made = write(tmp_path / "weights.h5", kernels())
    model = build_squeezenet(str(tmp_path / "weights.h5"))
    for number, (name, expected) in enumerate(made.items(), 1):
        kernel, bias = model.get_layer(name.replace("/", "_")).get_weights()
        assert np.array_equal(kernel, expected), name
        assert (bias == number).all(), name


def test_a_fire_module_squeezes_and_expands(tmp_path: Path) -> None:
    """One position of fire9 by hand, from what pool5 … fire8 gave."""
    made = write(tmp_path / "weights.h5", kernels())
    model = build_squeezenet(str(tmp_path / "weights.h5"))
    picture = np.random.default_rng(1).normal(0, 50, (1, 100, 100, 3)).astype(np.float32)
    outputs = {name: model.get_layer(name).output for name in ("fire8", "fire9")}
    given, got = (np.asarray(keras.Model(model.input, outputs)(picture)[name])[0] for name in outputs)
    order = {name: number for number, name in enumerate(made, 1)}

    def relu(summed: np.ndarray, name: str) -> np.ndarray:
        return np.maximum(summed + order[name], 0)

    squeezed = relu(given @ made["fire9/squeeze1x1"][0, 0], "fire9/squeeze1x1")
    around = np.pad(squeezed, ((1, 1), (1, 1), (0, 0)))[2:5, 1:4]  # about row 2, column 1
    near = relu(squeezed[2, 1] @ made["fire9/expand1x1"][0, 0], "fire9/expand1x1")
    wide = relu(np.einsum("ijc,ijco->o", around, made["fire9/expand3x3"]), "fire9/expand3x3")
    assert got[2, 1] == pytest.approx(np.concatenate([near, wide]), rel=1e-3)
    assert (got[2, 1] > 0).any()


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    other = kernels() | {"fire9/expand3x3": (3, 3, 64, 128)}
    write(tmp_path / "other.h5", other)
    write(tmp_path / "short.h5", {name: shape for name, shape in kernels().items() if not name.startswith("fire9")})
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("other.h5", "short.h5", "text.h5"):
        with pytest.raises(Failed, match=r"does not have the weights of SqueezeNet"):
            build_squeezenet(str(tmp_path / name))
    with pytest.raises(NotFound, match=r"absent\.h5"):
        build_squeezenet(str(tmp_path / "absent.h5"))
