# ruff: noqa: TID253 - imported only inside functions of the command line
"""Choose the devices and the precision of a training: CPU or GPUs, float32 or mixed, one replica or several.

A process opens its devices once, before it computes anything. Several replicas use ``tf.distribute``
(``trainers/engine/replicas.py``); several processes are started by ``trainers/engine/cluster.py``.
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

from bookserve.errors import InvalidInput
from bookserve.run import list_runs
from bookserve.runtime.devices import AUTO, CPU, gpu_number, parse_device
from trainers.engine import cluster, embedding_gradients, replicas
from trainers.task import Data, Params, Task


@dataclass(frozen=True)
class Devices:
    """The devices of a training, their precision, and their distribution strategy."""

    #: ``cpu``, ``gpu:0`` …; GPUs with the name of their model, if known.
    names: tuple[str, ...] = ("cpu",)
    #: Keras's name for the dtype policy of the training.
    precision: str = "float32"
    deterministic: bool = False
    #: The ``tf.distribute`` strategy for several replicas; None for one device.
    strategy: Any = None
    #: Whether this process writes the run; only one of several workers does.
    chief: bool = True

    def describe(self) -> dict[str, Any]:
        """The entries of ``environment.json`` about devices."""
        return {
            "backend": keras.backend.backend(),
            "devices": list(self.names),
            "precision": self.precision,
            "strategy": type(self.strategy).__name__ if self.strategy else None,
            "replicas": self.strategy.num_replicas_in_sync if self.strategy else 1,
            "deterministic": self.deterministic,
        }

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which new variables are created on all replicas."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def build_model(self, task: Task, data: Data, params: Params) -> keras.Model:
        """Build the task's model, ready to be fitted inside ``scope``.

        Raises:
            InvalidInput: the model has its own training step, which cannot be distributed or use mixed precision.
        """
        if self.strategy and not params["epochs"]:
            raise InvalidInput(
                f"'{task.name}' has nothing to train, so nothing to distribute.", "Leave --distribute out."
            )
        with _dtype_policy(self.precision), self.scope():
            model = task.build(data, params)
        own_step = type(model).train_step is not keras.Model.train_step
        if own_step and not self.is_plain:
            raise InvalidInput(
                f"'{task.name}' has its own training step, which runs on one device in float32.",
                "Leave --distribute and --mixed-precision out.",
            )
        if self.precision != "float32":
            _compute_outputs_in_float32(model)
        if model.compiled:
            embedding_gradients.sum_repeated_rows(model.optimizer)
        with warnings.catch_warnings():  # Keras warns that it does not compile layers that cuDNN computes
            warnings.simplefilter("ignore")
            # Keras's default is XLA, which is slower for most of these models. JAX is slow without it.
            model.jit_compile = keras.backend.backend() == "jax" or (params["jit_compile"] and not self.strategy)
        if self.strategy:
            replicas.install_strategy(self.strategy, model, data, params)
        return model

    @property
    def is_plain(self) -> bool:
        """Whether the trained model can be saved as it is: one replica in float32."""
        return self.precision == "float32" and not self.strategy

    def to_plain_model(self, model: keras.Model, task: Task, data: Data, params: Params) -> keras.Model:
        """The trained model in the form in which it is evaluated and saved: one replica in float32.

        If training used another form, the model is built again, with the usual layer names, and gets the weights.
        """
        if self.is_plain:
            return model
        keras.utils.clear_session(free_memory=False)  # otherwise Keras would give the layers higher numbers
        rebuilt = task.build(data, params)
        rebuilt.jit_compile = False
        rebuilt.set_weights(model.get_weights())
        if model.optimizer:  # its state is saved too
            rebuilt.optimizer.build(rebuilt.trainable_variables)
            trained = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            for variable, value in zip(rebuilt.optimizer.variables, trained.variables, strict=False):
                variable.assign(np.asarray(value))
        return rebuilt

    @contextlib.contextmanager
    def runs_directory(self, runs: Path, task: str) -> Iterator[Path]:
        """The directory to write runs to: ``runs``, or a temporary one for workers that are not the chief.

        The temporary directory has copies of the unfinished runs. So workers must see the chief's ``runs`` only to
        resume a run.
        """
        if self.chief:
            yield runs
            return
        with tempfile.TemporaryDirectory() as folder:
            for run in list_runs(runs, task):
                if not run.finished:
                    shutil.copytree(run.path, Path(folder) / task / run.path.name)
            yield Path(folder)

    def distribute(self, batches: keras.utils.PyDataset) -> tuple[Any, int | None]:
        """What ``fit`` reads ``batches`` from, and their number per epoch (None if ``fit`` finds out itself)."""
        return replicas.distribute_batches(self.strategy, batches) if self.strategy else (batches, None)

    def wait_for_workers(self) -> None:
        """Wait until all workers have arrived here. If one ended earlier, TensorFlow would abort the others."""
        if self.strategy:
            import tensorflow as tf

            def synchronise() -> Any:
                return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

            self.strategy.run(tf.function(synchronise))


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 in this block, without TF32: a format of GPUs that rounds the factors of products to 10 bits.

    Training may use it. Answers that other machines are compared with may not.
    """
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


#: One device with default settings.
SINGLE_DEVICE = Devices()


def open_devices(params: Params) -> Devices:
    """Open the devices that the settings of a training ask for, before anything is computed in this process.

    Raises:
        InvalidInput: a device does not exist, settings contradict each other, or the backend is not supported.
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise InvalidInput(
            f"KERAS_BACKEND is '{backend}'; expected tensorflow or jax.", "Set KERAS_BACKEND=tensorflow."
        )
    opened = _BACKENDS[backend](params["device"], params["distribute"], params["workers"], params["deterministic"])
    half = "mixed_float16" if opened.names[0].startswith("gpu") else "mixed_bfloat16"
    precision = half if params["mixed_precision"] else "float32"
    return Devices(opened.names, precision, params["deterministic"], opened.strategy, opened.chief)


@functools.cache
def _open_tensorflow(device: str, distribute: str, workers: int, deterministic: bool) -> Devices:
    import tensorflow as tf

    cpus, gpus = (tf.config.list_physical_devices(kind) for kind in ("CPU", "GPU"))
    worker = cluster.this_worker() if distribute == "multiworker" else None
    if workers and not distribute:
        raise InvalidInput("workers need --distribute mirrored or multiworker.", "Give --distribute, or no workers.")
    if worker and workers and workers != worker.count:
        raise InvalidInput(f"TF_CONFIG names {worker.count} workers, but --workers is {workers}.", "Leave one out.")
    chosen = select_devices(device, len(gpus), every=bool(distribute))
    if worker and chosen != ["cpu"]:
        chosen = worker.own_devices(chosen)
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
                    f"mirrored needs {max(2, workers)} devices, but there is only {', '.join(chosen)}.",
                    "Try it on the CPU: --device cpu --workers 2 makes two logical devices of it.",
                )
            kind = "CPU" if chosen[0] == "cpu" else "GPU"
            strategy = tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(len(chosen))])
        elif worker:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        else:
            keras.ops.zeros(1)  # makes TensorFlow search for devices now, while stderr is silenced
    except RuntimeError as error:
        raise InvalidInput(
            f"this process uses other devices already: {error}.", "Train on other devices in a separate process."
        ) from error
    details = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in shown]
    names = [f"{name} ({detail})" if detail else name for name, detail in zip(chosen, details, strict=False)]
    return Devices(tuple(names or chosen), strategy=strategy, chief=not worker or worker.chief)


@functools.cache
def _open_jax(device: str, distribute: str, workers: int, deterministic: bool) -> Devices:
    if distribute or workers:
        raise InvalidInput(
            "--distribute and --workers need TensorFlow; KERAS_BACKEND is 'jax'.",
            "Train with KERAS_BACKEND=tensorflow.",
        )
    import jax

    with contextlib.suppress(ImportError):
        import tensorflow as tf  # noqa: F401 - ``fit`` would import it later, and its messages would disturb the output
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # allocate memory only as needed
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # otherwise JAX would still use a GPU
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
    """The device names that ``device`` selects on a machine with ``gpus`` GPUs: ``cpu``, or ``gpu:0`` and so on.

    ``cuda`` and ``auto`` select the first GPU, or with ``every`` all of them. ``parse_device`` has the names.

    Raises:
        InvalidInput: ``device`` is not a device name, or there is no such device.
    """
    there = [f"gpu:{index}" for index in range(gpus)]
    name = parse_device(device)
    number = gpu_number(name)
    if name == CPU or (name == AUTO and not there):
        return [CPU]
    if number is None and there:
        return there if every else there[:1]
    if number is not None and number < gpus:
        return there[number : number + 1]
    raise InvalidInput(
        f"this machine has no {device}.",
        f"Keras's {keras.backend.backend()} backend finds: {', '.join(['cpu', *there])}.",
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
    """Make the model's output layers compute in float32: probabilities and prices need that precision."""
    for tensor in keras.tree.flatten(model.outputs):
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            _compute_outputs_in_float32(layer)
        elif isinstance(layer, keras.Layer):
            layer.dtype_policy = keras.DTypePolicy("float32")
