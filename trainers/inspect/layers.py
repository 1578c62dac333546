"""Run a model layer by layer, to read or to change the output of each layer.

A layer of a nested model is named by its path, such as ``vgg16/block5_conv3``. Keras is imported at first use.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import keras

#: Called with a layer's path, the layer and its output; the next layers get what it returns.
Visit = Callable[[str, Any, Any], Any]


def run_layers(model: keras.Model, inputs: Any, visit: Visit) -> Any:
    """Run ``model`` on ``inputs`` (tensors, or Keras's symbolic tensors) and return its outputs.

    ``visit`` is called for each layer in the order in which they run, including layers of nested models. The second
    call of a layer has the path ``name:2``. Layers with several outputs are skipped.

    Raises:
        InvalidInput: the model is not a graph of layers.
    """
    return _run_layers(model, inputs, visit, "", Counter())


def layer_activations(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """The output [1, …] of every layer for ``image`` [1, height, width, channels], by path, in the order they run.

    Source: section 5.4.1, listings 5.24–5.31.

    Raises:
        InvalidInput: the model is not a graph of layers.
    """
    import keras

    found = {}

    def visit(path: str, layer: Any, output: Any) -> Any:
        found[path] = keras.ops.convert_to_numpy(output)
        return output

    run_layers(model, keras.ops.convert_to_tensor(image), visit)
    return found


def as_layer_graph(model: keras.Model) -> Any:
    """``model`` as a functional model; a Sequential is converted.

    Raises:
        InvalidInput: the order of the layers is unknown: the model is a subclass with its own ``call``, or not built.
    """
    import keras

    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not isinstance(model, keras.Function):
        raise InvalidInput(
            f"the order of the layers of {model.name} is unknown.",
            "Give a Sequential or functional model.",
        )
    return model


def layer_names(model: keras.Model, *, maps: bool = False) -> list[str]:
    """Paths of all layers of ``model``; with ``maps``, only of convolutions (outputs [height, width, channels]).

    Convolutions of a single position, which MobileNet has in place of a dense layer, are not among those.

    Raises:
        InvalidInput: there is no such layer.
    """
    import keras

    kinds = (
        keras.layers.Conv2D,
        keras.layers.Conv2DTranspose,
        keras.layers.DepthwiseConv2D,
        keras.layers.SeparableConv2D,
    )
    found = []

    def visit(name: str, layer: Any, output: Any) -> Any:
        if not maps or (isinstance(layer, kinds) and tuple(output.shape[1:-1]) != (1, 1)):
            found.append(name)
        return output

    run_layers(model, as_layer_graph(model).inputs, visit)
    if not found:
        raise InvalidInput(f"{model.name} has no convolution layer.", "Give a convnet, such as mnist_convnet.")
    return found


def find_layer(model: keras.Model, wanted: str) -> str:
    """The path of the layer ``wanted``, given as a path, or as a name that only one layer has.

    Raises:
        NotFound: no layer or several have this name; the hint gives similar names.
    """
    paths = layer_names(model)
    if wanted in paths:
        return wanted
    tails = [path for path in paths if path.rpartition("/")[2] == wanted]
    if len(tails) > 1:
        raise NotFound(
            f"{len(tails)} layers of {model.name} are called '{wanted}'.", f"Give one of {', '.join(tails)}."
        )
    if not tails:
        raise NotFound(f"{model.name} has no layer '{wanted}'.", spelling_hint(wanted, paths))
    return tails[0]


def spelling_hint(wanted: str, known: Iterable[str]) -> str:
    """A hint with up to three names similar to ``wanted``, or else with the first 20 names."""
    known = list(known)
    by_tail = {name.rpartition("/")[2]: name for name in known}
    close = difflib.get_close_matches(wanted, by_tail, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(by_tail[name] for name in close)}?"
    return f"There are: {', '.join(known[:20])}{', …' if len(known) > 20 else ''}." if known else ""


def _run_layers(model: keras.Model, inputs: Any, visit: Visit, prefix: str, called: Counter[str]) -> Any:
    import keras

    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not isinstance(model, keras.Function):
        raise InvalidInput(
            f"the order of the layers of {model.name} is unknown.", "Give a Sequential or functional model."
        )

    def operation(layer: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = f"{prefix}{layer.name}"
            if isinstance(layer, keras.Sequential | keras.Function):
                return _run_layers(layer, args[0] if args else kwargs["inputs"], visit, f"{path}/", called)
            output = layer(*args, **kwargs)
            if not hasattr(output, "shape"):
                return output
            called[path] += 1
            return visit(path if called[path] == 1 else f"{path}:{called[path]}", layer, output)

        return call

    return as_layer_graph(model)._run_through_graph(inputs, operation_fn=operation)
