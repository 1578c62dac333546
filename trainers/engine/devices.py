# ruff: noqa: TID253 - imported only inside functions of the command line
"""Devices: where a training computes and how exactly – CPU or GPUs, precision, one replica of the model or several.

A process opens its devices once, before it computes anything. Several replicas go through ``tf.distribute``
(``trainers/engine/replicas.py``), several processes are started by ``trainers/engine/cluster.py``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bookserve import run as runs_
from bookserve.errors import InvalidInput
from trainers.engine import cluster, replicas
from trainers.task import Data, Params, Task


@dataclass(frozen=True)
class Devices:
    """What trains a model."""

    #: ``cpu``, ``gpu:0`` …, each with the name that its maker gave it.
    names: tuple[str, ...] = ("cpu",)
    #: Keras's name of the dtype policy under which a model is trained.
    precision: str = "float32"
    deterministic: bool = False
    #: The ``tf.distribute`` strategy of several replicas.
    strategy: Any = None
    #: Whether this process writes the run; of several workers one does.
    chief: bool = True

    def describe(self) -> dict[str, Any]:
        """What ``environment.json`` says."""
        return {
            "backend": keras.backend.backend(),
            "devices": list(self.names),
            "precision": self.precision,
            "strategy": type(self.strategy).__name__ if self.strategy else None,
            "replicas": self.strategy.num_replicas_in_sync if self.strategy else 1,
            "deterministic": self.deterministic,
        }

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Inside, variables belong to all replicas."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def build(self, task: Task, data: Data, params: Params) -> keras.Model:
        """The task's model, ready to be fitted inside ``scope``.

        Raises:
            InvalidInput: its own training step cannot be distributed, or not be scaled for float16.
        """
        if self.strategy and not params["epochs"]:
            raise InvalidInput(f"'{task.name}' is not trained: there is nothing to distribute.")
        with _dtype_policy(self.precision), self.scope():
            model = task.build(data, params)
        own_step = type(model).train_step is not keras.Model.train_step
        if own_step and not self.plain:
            raise InvalidInput(
                f"'{task.name}' has a training step of its own, which one device does in float32.",
                "Leave --distribute and --mixed-precision out.",
            )
        if self.precision != "float32":
            _compute_outputs_in_float32(model)
        with warnings.catch_warnings():  # layers that cuDNN computes cannot be compiled: Keras says so and does not
            warnings.simplefilter("ignore")
            # Keras would use XLA always, which is slower for most of these models. On JAX nothing else is fast.
            model.jit_compile = keras.backend.backend() == "jax" or (params["jit_compile"] and not self.strategy)
        if self.strategy:
            replicas.install_strategy(self.strategy, model, data, params)
        return model

    @property
    def plain(self) -> bool:
        """Whether what is trained is what is saved: one replica, in float32."""
        return self.precision == "float32" and not self.strategy

    def finished(self, model: keras.Model, task: Task, data: Data, params: Params) -> keras.Model:
        """The trained model as it is measured and saved: one replica in float32, its layers named as in any other."""
        if self.plain:
            return model
        keras.utils.clear_session(free_memory=False)  # or layers were numbered on
        rebuilt = task.build(data, params)
        rebuilt.jit_compile = False
        rebuilt.set_weights(model.get_weights())
        if model.optimizer:  # what it remembers is saved too
            rebuilt.optimizer.build(rebuilt.trainable_variables)
            trained = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            for variable, value in zip(rebuilt.optimizer.variables, trained.variables, strict=False):
                variable.assign(np.asarray(value))
        return rebuilt

    @contextlib.contextmanager
    def place(self, runs: Path, task: str) -> Iterator[Path]:
        """Where runs are written: ``runs``, or for a worker that is not the chief a copy that is thrown away.

        Workers have to see the chief's ``runs`` only to continue one.
        """
        if self.chief:
            yield runs
            return
        with tempfile.TemporaryDirectory() as folder:
            for run in runs_.list_runs(runs, task):
                if not run.finished:
                    shutil.copytree(run.path, Path(folder) / task / run.path.name)
            yield Path(folder)

    def rows(self, batches: keras.utils.PyDataset) -> tuple[Any, int | None]:
        """What ``fit`` reads batches from, and how many: None where the batches themselves know."""
        return replicas.distribute_batches(self.strategy, batches) if self.strategy else (batches, None)

    def part(self) -> None:
        """Leave the other workers when all have come here: a worker that is missed stops the others."""
        if self.strategy:
            import tensorflow as tf

            def together() -> Any:
                return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

            self.strategy.run(tf.function(together))


#: One device, as it comes.
SINGLE_DEVICE = Devices()


def open_devices(params: Params) -> Devices:
    """The devices that the settings of a training ask for; nothing may have been computed in this process before.

    Raises:
        InvalidInput: a device that is not there, or settings that do not go together.
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise InvalidInput(f"KERAS_BACKEND is '{backend}'; trainers run on tensorflow or jax.")
    opened = _BACKENDS[backend](params["device"], params["distribute"], params["workers"], params["deterministic"])
    half = "mixed_float16" if opened.names[0].startswith("gpu") else "mixed_bfloat16"
    precision = half if params["mixed_precision"] else "float32"
    return Devices(opened.names, precision, params["deterministic"], opened.strategy, opened.chief)


@functools.cache
def _open_tensorflow(device: str, distribute: str, workers: int, deterministic: bool) -> Devices:
    import tensorflow as tf

    cpus, gpus = (tf.config.list_physical_devices(kind) for kind in ("CPU", "GPU"))
    place = cluster.this_worker() if distribute == "multiworker" else None
    if workers and not distribute:
        raise InvalidInput("workers belong to --distribute mirrored or multiworker.")
    if place and workers and workers != place.count:
        raise InvalidInput(f"TF_CONFIG names {place.count} workers, but --workers is {workers}.", "Leave one out.")
    chosen = select_devices(device, len(gpus), every=bool(distribute))
    if place and chosen != ["cpu"]:
        chosen = place.share(chosen)
    try:
        shown = [gpus[int(name.removeprefix("gpu:"))] for name in chosen if name != "cpu"]
        tf.config.set_visible_devices(shown, "GPU")
        for gpu in shown:
            tf.config.experimental.set_memory_growth(gpu, True)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        strategy = None
        if distribute == "mirrored":
            if chosen == ["cpu"] and workers > 1:
                parts = [tf.config.LogicalDeviceConfiguration()] * workers
                tf.config.set_logical_device_configuration(cpus[0], parts)
                chosen = ["cpu"] * workers
            chosen = chosen[: workers or None]
            if len(chosen) < max(2, workers):
                raise InvalidInput(
                    f"there is {'nothing but' if gpus else 'only'} {', '.join(chosen)} to mirror on.",
                    "--device cpu --workers 2 divides the CPU.",
                )
            kind = "CPU" if chosen[0] == "cpu" else "GPU"
            strategy = tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(len(chosen))])
        elif place:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        else:
            keras.ops.zeros(1)  # TensorFlow looks for its devices now, which it does not do silently
    except RuntimeError as error:
        raise InvalidInput(
            f"this process computes on other devices already: {error}.", "Train with other devices by itself."
        ) from error
    details = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in shown]
    names = [f"{name} ({detail})" if detail else name for name, detail in zip(chosen, details, strict=False)]
    return Devices(tuple(names or chosen), strategy=strategy, chief=not place or place.chief)


@functools.cache
def _open_jax(device: str, distribute: str, workers: int, deterministic: bool) -> Devices:
    if distribute or workers:
        raise InvalidInput("--distribute goes through tf.distribute.", "Train with KERAS_BACKEND=tensorflow.")
    import jax

    with contextlib.suppress(ImportError):
        import tensorflow as tf  # noqa: F401 - ``fit`` would import it, and let it greet in the midst of the epochs
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # memory grows with what is asked for
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # or JAX would take a GPU all the same
    elif deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    gpus = [found for found in jax.devices() if found.platform == "gpu"]
    (chosen,) = select_devices(device, len(gpus))
    if chosen == "cpu":
        return Devices()
    gpu = gpus[int(chosen.removeprefix("gpu:"))]
    jax.config.update("jax_default_device", gpu)
    return Devices((f"{chosen} ({gpu.device_kind})",))


_BACKENDS = {"tensorflow": _open_tensorflow, "jax": _open_jax}


def select_devices(device: str, gpus: int, *, every: bool = False) -> list[str]:
    """What ``device`` names on a machine of so many GPUs; ``every`` GPU where it names none in particular.

    Raises:
        InvalidInput: it names none, or one that is not there.
    """
    there = [f"gpu:{index}" for index in range(gpus)]
    if device in ("cpu", *there):
        return [device]
    if device == "auto" and not there:
        return ["cpu"]
    if device in ("gpu", "auto") and there:
        return there if every else there[:1]
    if device != "gpu" and not device.removeprefix("gpu:").isdecimal():
        raise InvalidInput(f"'{device}' is no device; expected cpu, gpu, gpu:N or auto.")
    raise InvalidInput(
        f"there is no {device} here.", f"Keras's {keras.backend.backend()} backend finds: {', '.join(['cpu', *there])}."
    )


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _compute_outputs_in_float32(model: keras.Model) -> None:
    """Let the layers whose outputs are the model's compute in float32: probabilities and prices need its digits."""
    for tensor in keras.tree.flatten(model.outputs):
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            _compute_outputs_in_float32(layer)
        elif isinstance(layer, keras.Layer):
            layer.dtype_policy = keras.DTypePolicy("float32")
