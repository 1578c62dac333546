"""Open the trained Keras model of a Run or a Bundle, with its verb, its Steps and its example rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bookserve import bundle as bundles
from bookserve.bundle import MANIFEST, Bundle
from bookserve.bundle.examples import Examples
from bookserve.errors import Failed, InvalidInput, NotFound
from bookserve.run import Origin, find_run
from bookserve.steps import BinaryLabel, MultiLabel, PictureStep, Rows, Step, TopLabels, apply_steps
from bookserve.verb import Predict, Sample, Verb, verb_name
from trainers import catalogue
from trainers.inspect.layers import spelling_hint

if TYPE_CHECKING:
    import keras

#: Where a bundle has the model in Keras's own format.
KERAS_MODEL_IN_BUNDLE = Path("assets/model.keras")


class Affine(NamedTuple):
    """What the Steps after ``Image`` do to a pixel of c channels: ``pixel @ matrix + offset``, float32 [c, c], [c]."""

    matrix: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, its verb and its example rows."""

    name: str
    origin: Origin
    verb: Verb
    #: The inference graphs by name, as in a bundle; they share the trained layers.
    graphs: dict[str, keras.Model]
    #: The raw rows of ``examples.npz``.
    rows: Rows

    @property
    def model(self) -> keras.Model:
        """The graph that takes pictures: for the verb ``sample``, the encoder.

        Raises:
            InvalidInput: no graph takes pictures, or it has other inputs too.
        """
        self._steps()
        return self.graphs[str(self.verb.encode) if isinstance(self.verb, Sample) else self._predict.graph]

    def encode_pictures(self, rows: Rows) -> np.ndarray:
        """Pictures (file bytes or pixels) → float32 [rows, height, width, channels], the network's input.

        Raises:
            InvalidInput: the model does not take pictures, or ``rows`` are not pictures.
        """
        return np.asarray(apply_steps(self._steps(), rows))

    def pixel_transform(self) -> Affine:
        """The Steps after the picture's as an affine map, measured on a black picture and one of each pure colour.

        Raises:
            InvalidInput: the network's input is not [height, width, channels].
        """
        image, *rest = self._steps()
        if not isinstance(image, PictureStep):
            raise InvalidInput(
                f"{self.name} has another Step before the picture, so its pixels cannot be changed directly."
            )
        basis = np.zeros((1 + image.channels, image.height, image.width, image.channels), np.float32)
        basis[1:] = 255 * np.eye(image.channels)[:, None, None]
        seen = np.asarray(apply_steps(rest, basis), np.float32)
        if seen.ndim != 4:
            raise InvalidInput(
                f"the input of {self.name} is {list(seen.shape[1:])}; expected [height, width, channels].",
                "Give a run of a convnet, such as mnist_convnet.",
            )
        black, *pure = seen[:, 0, 0]
        return Affine((np.stack(pure) - black) / 255, black)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's output; empty if they have no names."""
        steps = [step for steps in self._predict.outputs.values() for step in steps]
        return next((step.labels for step in steps if isinstance(step, TopLabels | BinaryLabel | MultiLabel)), ())

    def class_index(self, name: str) -> int:
        """The number of the class called ``name``; ``name`` may also be the number.

        Raises:
            NotFound: there is no such class.
        """
        if name in self.labels:
            return self.labels.index(name)
        if name.isdecimal() and (not self.labels or int(name) < len(self.labels)):
            return int(name)
        raise NotFound(f"{self.name} has no class '{name}'.", spelling_hint(name, self.labels))

    @property
    def _predict(self) -> Predict:
        if not isinstance(self.verb, Predict):
            raise InvalidInput(
                f"{self.name} has no classes: its verb is {verb_name(self.verb)}.",
                "Give a run whose verb is predict; see: bookserve tasks",
            )
        return self.verb

    def _steps(self) -> tuple[Step, ...]:
        if isinstance(self.verb, Sample) and self.verb.encode:
            return self.verb.before
        inputs = self.verb.inputs if isinstance(self.verb, Predict) else {}
        pictures = [steps for steps in inputs.values() if any(isinstance(step, PictureStep) for step in steps)]
        if not pictures or len(inputs) > 1:
            takes = f"its inputs are {' and '.join(inputs)}" if inputs else f"its verb is {verb_name(self.verb)}"
            raise InvalidInput(
                f"{self.name} does not take a single picture: {takes}.",
                "Give a run of a convnet, such as mnist_convnet.",
            )
        return pictures[0]


def open_trained_model(argument: str, runs: Path) -> TrainedModel:
    """Open a bundle's directory, a model's directory (its newest version), or a run (``bookserve/run.py``).

    Raises:
        NotFound: there is nothing of that name, or it does not include the Keras model.
        Failed: the run is unfinished, or the Keras model cannot be loaded.
    """
    path = Path(argument)
    if (path / MANIFEST).is_file():
        return _load_from_bundle(Bundle.open(path.resolve()))
    if bundles.versions(path.resolve().parent, path.resolve().name):
        return _load_from_bundle(bundles.open_bundle(path.resolve().parent, path.resolve().name))
    run = find_run(runs, argument)
    if not run.finished:
        raise Failed(f"the run {run.name} is unfinished.", f"Finish it: bookserve train {run.task} --resume")
    return _load(run.name, run.path / "model.keras", run.recipe.origin, run.recipe.verb, _load_example_rows(run.path))


def _load_from_bundle(bundle: Bundle) -> TrainedModel:
    origin = bundle.manifest.origin
    if origin is None or not (bundle.path / KERAS_MODEL_IN_BUNDLE).is_file():
        raise NotFound(
            f"{bundle.path} has no {KERAS_MODEL_IN_BUNDLE}, which is needed for layers and gradients.",
            "Give the run that the bundle was exported from, or export it again.",
        )
    name = f"{bundle.name}/{bundle.version}"
    return _load(
        name, bundle.path / KERAS_MODEL_IN_BUNDLE, origin, bundle.manifest.verb, _load_example_rows(bundle.path)
    )


def _load_example_rows(path: Path) -> Rows:
    return Examples.load(path / "examples.npz").rows


def _load(name: str, path: Path, origin: Origin, verb: Verb, rows: Rows) -> TrainedModel:
    import keras

    task = catalogue.find_task(origin.task)
    try:
        model = keras.saving.load_model(path, custom_objects=task.custom and task.custom(), compile=False)
    except Exception as error:  # Keras raises many types of errors for damaged files
        reason = str(error).partition("\n")[0]
        raise Failed(f"{path} cannot be loaded: {reason}.", "It is damaged: train or export again.") from error
    if task.graphs:
        return TrainedModel(name, origin, verb, task.graphs(model), rows)
    return TrainedModel(name, origin, verb, {verb.graph if isinstance(verb, Predict) else "": model}, rows)
