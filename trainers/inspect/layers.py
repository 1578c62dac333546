"""Layers: a model run layer by layer, with a look at – or a hand on – what every layer gives.

A layer of a model inside the model is called by its path, like ``vgg16/block5_conv3``. Keras is imported at first use.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bookserve.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import keras

#: Called with a layer's path, the layer and its output; what it returns is what the next layers see.
Visit = Callable[[str, Any, Any], Any]


def run_layers(model: keras.Model, inputs: Any, visit: Visit) -> Any:
    """Run ``model`` on ``inputs`` (tensors, or Keras's symbolic ones) and return its outputs.

    ``visit`` sees the layers in the order in which they run, also those of models inside ``model``. A layer that is
    called again is called ``name:2``; one with several outputs is passed over.

    Raises:
        InvalidInput: the model is no graph of layers.
    """
    return _run_layers(model, inputs, visit, "", Counter())


def as_layer_graph(model: keras.Model) -> Any:
    """``model`` as a graph of layers, which a Sequential is only within.

    Raises:
        InvalidInput: its ``call`` is Python code of its own, or it was never built: its layers have no known order.
    """
    import keras

    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not isinstance(model, keras.Function):
        raise InvalidInput(
            f"the layers of {model.name} have no known order.",
            "Give a model that is a graph of layers.",
        )
    return model


def layer_names(model: keras.Model, *, maps: bool = False) -> list[str]:
    """Paths of all layers of ``model``; with ``maps`` only of the convolutions, which give [height, width, channels].

    Raises:
        InvalidInput: there is none of them.
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
        if not maps or isinstance(layer, kinds):
            found.append(name)
        return output

    run_layers(model, as_layer_graph(model).inputs, visit)
    if not found:
        raise InvalidInput(f"{model.name} has no convolution layer.", "Give a convnet, such as mnist_convnet.")
    return found


def find_layer(model: keras.Model, wanted: str) -> str:
    """The path of the layer called ``wanted``: a path, or a name that only one layer bears.

    Raises:
        NotFound: none or several; the hint names those that are spelled like it.
    """
    paths = layer_names(model)
    if wanted in paths:
        return wanted
    tails = [path for path in paths if path.rpartition("/")[2] == wanted]
    if len(tails) > 1:
        raise NotFound(f"{len(tails)} layers of {model.name} are called '{wanted}'.", f"Say which: {', '.join(tails)}.")
    if not tails:
        raise NotFound(f"{model.name} has no layer '{wanted}'.", spelling_hint(wanted, paths))
    return tails[0]


def spelling_hint(wanted: str, known: Iterable[str]) -> str:
    """A hint: the few names spelled like ``wanted``, or else the first of all there are."""
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
            f"the layers of {model.name} have no known order.", "Only models made of layers can be used."
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
