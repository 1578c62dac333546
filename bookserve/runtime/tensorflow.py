"""TensorFlow: runs a SavedModel's signatures, where a graph has no ONNX form.

A SavedModel is loaded as TensorFlow Serving loads it: its graph into a session of TensorFlow 1. This opens what every
version from 1.0 to today wrote; ``tf.saved_model.load`` rebuilds the Python objects beside the graph, too, and fails
where one of them, such as an optimizer, is no longer part of TensorFlow.

The only file of the server that imports TensorFlow, when such a model is loaded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bookserve.errors import Failed, InvalidInput
from bookserve.graph import Arrays, numpy_dtype
from bookserve.runtime.base import Declarations, GraphHints, Session, TensorDeclaration, refuse_empty

if TYPE_CHECKING:
    from bookserve.runtime.saved_model_operators import GraphOperators

#: What the names of signatures begin with that TensorFlow keeps for itself.
_RESERVED = "__saved_model_"
#: The tag of the graph that is for serving.
_SERVE = "serve"


class SavedModelGraph:
    """A SavedModel whose graph is loaded into a session; its tables are filled and its variables restored."""

    def __init__(self, directory: Path) -> None:
        """
        Raises:
            Failed: TensorFlow cannot load it; the message quotes the reason.
            InvalidInput: it needs a custom operator.
        """
        import tensorflow as tf

        tags = tags_to_serve(directory)
        #: The graph in memory, a ``tf.Graph``.
        self.graph = tf.Graph()
        config = tf.compat.v1.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0})
        #: Holds the variables and tables, a ``tf.compat.v1.Session``.
        self.session = tf.compat.v1.Session(graph=self.graph, config=config)
        try:
            with self.graph.as_default(), without_deprecation_warnings():
                #: The graph and its signatures as they were saved, a ``MetaGraphDef``.
                self.meta = tf.compat.v1.saved_model.load(self.session, tags, str(directory), clear_devices=True)
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            if unknown := re.search(r"Op type not registered '([^']+)'", str(error)):
                raise InvalidInput(
                    f"{directory} needs the operator '{unknown[1]}', which is not part of TensorFlow.",
                    "Custom operators are not loaded: save the model with standard operators.",
                ) from error
            raise Failed(
                f"TensorFlow cannot load {directory}: {first_line(error)}.", "Save the model again."
            ) from error
        #: The signatures by name, each a ``SignatureDef``.
        self.signatures: dict[str, Any] = signatures_of(self.meta)

    def declared(self, name: str) -> tuple[Declarations, Declarations]:
        """The inputs and outputs of a signature, each by name.

        Raises:
            Failed: one of them is a sparse or ragged tensor, or is not in the graph.
        """
        signature = self.signatures[name]
        inputs, outputs = (
            {key: self._declaration(key, side[key]) for key in sorted(side, key=_by_number)}
            for side in (signature.inputs, signature.outputs)
        )
        return inputs, outputs

    @cached_property
    def operators(self) -> GraphOperators:
        """The operators of its signatures."""
        from bookserve.runtime.saved_model_operators import GraphOperators  # it imports this package itself

        return GraphOperators(self.meta)

    def open(self, name: str) -> TensorflowSession:
        """A session that runs one signature.

        Raises:
            Failed: there is no such signature, or its tensors cannot be served.
        """
        if name not in self.signatures:
            have = ", ".join(self.signatures) or "none"
            raise Failed(f"the SavedModel has no signature '{name}' (it has: {have}).")
        return TensorflowSession(self, name)

    def _declaration(self, key: str, info: Any) -> TensorDeclaration:
        import tensorflow as tf

        kind = info.WhichOneof("encoding")
        if kind != "name":
            word = "sparse" if kind == "coo_sparse" else "ragged"
            raise Failed(f"'{key}' is a {word} tensor; only dense tensors can be served.")
        try:
            tensor = self.graph.get_tensor_by_name(info.name)
        except (KeyError, ValueError) as error:
            raise Failed(f"the tensor '{info.name}' of '{key}' is not in the graph.") from error
        shape = tf.TensorShape(info.tensor_shape)
        # Early versions of TensorFlow wrote "no axes" where they did not know the shape.
        if not shape.is_compatible_with(tensor.shape) or (shape.rank == 0 and tensor.shape.rank is None):
            shape = tensor.shape
        return TensorDeclaration(tensor.dtype.base_dtype.name, None if shape.rank is None else tuple(shape.as_list()))


#: Lines of TensorFlow's errors that say where, and what stands before the cause where there are several.
_PLACE = re.compile(r"Graph execution error|Detected at node|Stack trace|File \"|<stack|\d+ root error|node [\'\"]?\w")
_NUMBERED = re.compile(r"^\(\d+\)\s*\w+:\s*")


class TensorflowSession:
    """One signature of a loaded SavedModel; see ``Session``."""

    def __init__(self, model: SavedModelGraph, name: str) -> None:
        self._model, self._name = model, name  # the model keeps the variables
        self._inputs, self._outputs = model.declared(name)
        signature = model.signatures[name]
        self._fetched = [signature.outputs[key].name for key in self._outputs]
        self._fed = [signature.inputs[key].name for key in self._inputs]
        self._call = model.session.make_callable(self._fetched, self._fed)

    def declared(self) -> tuple[Declarations, Declarations]:
        """Inputs and outputs as the signature declares them; see ``DeclaringSession``."""
        return self._inputs, self._outputs

    def hints(self) -> GraphHints:
        """See ``HintingSession``."""
        return self._model.operators.hints(self._name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Run the signature; see ``Session.run``."""
        import tensorflow as tf

        for array in feeds.values():
            if not array.size:  # without rows some of TensorFlow's operators end the whole process
                refuse_empty(feeds, self._inputs)
        fits = all(_fits(feeds[name].shape, tensor.shape) for name, tensor in self._inputs.items())
        call = self._call if fits else self._call_of_any_shape
        try:
            arrays = call(*(feeds[name] for name in self._inputs))
        except tf.errors.InvalidArgumentError as error:  # the values, or shapes other than the declared ones
            raise InvalidInput(f"the model does not take these values: {first_line(error)}.") from error
        except Exception as error:  # TensorFlow's errors share no base that is public in all versions
            raise Failed(f"the model could not be run: {first_line(error)}.") from error
        return {
            name: np.asarray(array, numpy_dtype(tensor.dtype))
            for (name, tensor), array in zip(self._outputs.items(), arrays, strict=True)
        }

    @cached_property
    def _call_of_any_shape(self) -> Any:
        """Feeds tensors of other shapes than the graph declares, as TensorFlow Serving's C++ does.

        A session's public methods compare the shapes first. Source: ``CallableOptions`` in ``config.proto``; the method
        is not public, so a test holds it (``test_foreign_signatures.py``).
        """
        from tensorflow.core.protobuf import config_pb2

        options = config_pb2.CallableOptions(feed=self._fed, fetch=self._fetched)
        return self._model.session._make_callable_from_options(options)


def _fits(shape: tuple[int, ...], declared: tuple[int | str | None, ...] | None) -> bool:
    """Whether a tensor has a shape that the graph declares; None is any."""
    if declared is None:
        return True
    pairs = zip(shape, declared, strict=False)
    return len(shape) == len(declared) and all(not isinstance(axis, int) or axis == size for size, axis in pairs)


class TensorflowRuntime:
    """Opens SavedModels; see ``Runtime``. TensorFlow itself decides how many threads it uses."""

    name = "tensorflow"
    model_file = "saved_model.pb"
    devices = ("cpu",)

    def opens(self, path: Path) -> bool:
        """Whether it is the ``saved_model.pb`` of a SavedModel."""
        return path.name == self.model_file

    def open_sessions(
        self, path: Path, graphs: Collection[str] | None = None, *, device: str = "cpu", threads: int = 1
    ) -> dict[str, Session]:
        """Load the SavedModel once and open the signatures named, or all; see ``Runtime.open_sessions``.

        Raises:
            Failed: TensorFlow is not installed, or cannot load the SavedModel or a signature.
            InvalidInput: it needs a custom operator.
        """
        try:
            import tensorflow  # noqa: F401
        except ModuleNotFoundError as error:
            raise Failed(
                f"{path.parent} has graphs that only TensorFlow can run, and TensorFlow is not installed.",
                "Install it beside the server: pip install tensorflow",
            ) from error
        model = SavedModelGraph(path.parent)
        if graphs is not None:
            return {name: model.open(name) for name in graphs}
        sessions: dict[str, Session] = {}
        refused: Failed | None = None
        for name in model.signatures:
            try:
                sessions[name] = model.open(name)
            except Failed as error:  # it has tensors that cannot be served; the others may do without it
                refused = error
        if refused and not sessions:
            raise refused
        return sessions


def signatures_of(meta: Any) -> dict[str, Any]:
    """The signatures of a ``MetaGraphDef`` by name that can be called: those with outputs, without TensorFlow's own."""
    return {
        name: meta.signature_def[name]
        for name in sorted(meta.signature_def)
        if not name.startswith(_RESERVED) and meta.signature_def[name].outputs
    }


def tags_to_serve(directory: Path) -> list[str]:
    """The tags of the graph to load: those of the one for serving, or else of the first.

    Modules of TensorFlow Hub have a graph without tags, other models one for each kind of device.

    Raises:
        Failed: there is no SavedModel in the directory, or it is damaged.
    """
    saved = read_saved_model(directory)
    tags = [list(meta.meta_info_def.tags) for meta in saved.meta_graphs]
    if not tags:
        raise Failed(f"the SavedModel in {directory} holds no graph.", "Save the model again.")
    return min(tags, key=lambda names: (names != [_SERVE], _SERVE not in names, len(names)))


def read_saved_model(directory: Path) -> Any:
    """The ``SavedModel`` message in ``saved_model.pb`` or ``saved_model.pbtxt``.

    Raises:
        Failed: there is no such file, or it is damaged.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    binary, text = directory / "saved_model.pb", directory / "saved_model.pbtxt"
    try:
        if binary.is_file() or not text.is_file():
            return saved_model_pb2.SavedModel.FromString(binary.read_bytes())
        return text_format.Parse(text.read_bytes(), saved_model_pb2.SavedModel())
    except (OSError, DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise Failed(
            f"TensorFlow cannot load {directory}: the file with the graph is damaged.", "Save the model again."
        ) from error


def first_line(error: Exception) -> str:
    """What went wrong, without a full stop. TensorFlow tells it behind a list of places in Keras or the user's code.

    ``Graph execution error:`` is followed by ``Detected at node …`` with its places, and by the cause, before the name
    of the node: ``Expected image, got unknown format [[{{node DecodeImage}}]]``. With several causes each is in a line
    that begins with its number and code.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if not lines or not lines[0].startswith("Graph execution error"):
        return _plain_line(error)
    ends = [index for index, line in enumerate(lines) if "[[{{node" in line]
    before = [*lines[: ends[0]], lines[ends[0]].partition("[[{{node")[0]] if ends else lines
    told = [line for line in before if line and not _PLACE.match(line)]
    found = _NUMBERED.sub("", told[-1]).strip().rstrip(".") if told else ""
    return found or _plain_line(error)


def _plain_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _by_number(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sort key that puts ``output_2`` before ``output_10``."""
    parts = enumerate(re.split(r"([0-9]+)", name))  # every second part is a number
    return tuple((bool(place % 2), int(part) if place % 2 else 0, part) for place, part in parts)


@contextmanager
def without_deprecation_warnings() -> Iterator[None]:
    """What works with sessions is deprecated in favour of ``tf.saved_model.load``, which cannot load all models."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
