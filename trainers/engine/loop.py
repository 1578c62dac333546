# ruff: noqa: TID253 - imported only inside functions of the command line
"""Run the training loop: seeded batches, a checkpoint after each epoch, and progress as lines or as a bar."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras

from bookserve.errors import InvalidInput
from bookserve.run import Run
from trainers import settings
from trainers.engine import checkpoint, curves
from trainers.engine.batches import EvaluationBatches, TrainingBatches
from trainers.engine.checkpoint import Progress
from trainers.engine.devices import SINGLE_DEVICE, Devices
from trainers.task import Data, Params

#: Shows a line to the user.
ReportLine = Callable[[str], None]


def fit(
    model: keras.Model,
    data: Data,
    params: Params,
    *,
    run: Run,
    seed: int,
    report: ReportLine,
    progress_bar: bool = False,
    devices: Devices = SINGLE_DEVICE,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> Progress:
    """Train ``model`` up to epoch ``params["epochs"]``; if the run has a checkpoint, continue from there.

    ``progress_bar`` shows Keras's progress bar; otherwise ``report`` gets one line per epoch. ``after_epoch`` is called
    with the number of complete epochs. ``devices`` must be those that built ``model``. A KeyboardInterrupt loses only
    the current epoch.
    """
    with devices.scope():
        progress = checkpoint.load_checkpoint(run, model)
        if progress.epochs < params["epochs"] and not progress.stopped:
            train, steps = devices.distribute(
                TrainingBatches(data.train, params["batch_size"], seed, progress.epochs, params["steps_per_epoch"])
            )
            held = (
                devices.distribute(EvaluationBatches(data.validation, params["batch_size"]))
                if data.validation
                else (None, None)
            )
            model.fit(
                train,
                epochs=params["epochs"],
                initial_epoch=progress.epochs,
                steps_per_epoch=steps,
                shuffle=False,  # Keras would shuffle with a global generator, whose state is in no checkpoint
                validation_data=held[0],
                validation_steps=held[1],
                callbacks=[
                    _EpochEnd(run, progress, params, None if progress_bar else report, after_epoch),
                    *_tensorboard(run, params),
                ],
                verbose=1 if progress_bar else 0,
            )
        if params["keep_best"]:
            checkpoint.load_best_weights(run, model)
    return progress


def _tensorboard(run: Run, params: Params) -> list[keras.callbacks.Callback]:
    """Keras's TensorBoard callback, if the backend is TensorFlow: the callback needs it."""
    if keras.backend.backend() != "tensorflow":
        return []
    return [
        keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False, histogram_freq=params["histograms"])
    ]


class _EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: records the figures, applies the settings that depend on them, saves a checkpoint, reports."""

    def __init__(
        self,
        run: Run,
        progress: Progress,
        params: Params,
        report: ReportLine | None,
        after_epoch: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._run = run
        self._progress = progress
        self._settings = params
        self._report = report
        self._after_epoch = after_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self._start
        for name, value in figures.items():
            self._progress.history.setdefault(name, []).append(value)
        self._progress.epochs = epoch + 1
        self._progress.seconds += seconds
        self._apply_settings()
        checkpoint.save_checkpoint(self._run, self.model, self._progress)
        curves.write_history_csv(self._run.path, self._progress.history)
        if self._report:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            self._report(f"epoch {epoch + 1}/{self._settings['epochs']}  {shown}  ({seconds:.1f} s)")
        self._after_epoch(epoch + 1)

    def _apply_settings(self) -> None:
        """Apply early stopping, best weights, and the learning rate on a plateau (section 7.2.1)."""
        params = self._settings
        if not (params["patience"] or params["keep_best"] or params["plateau"]):
            return
        values = settings.monitored_values(params, self._progress.history)
        waited = settings.epochs_since_best(values)
        if params["keep_best"] and waited == 0:
            checkpoint.save_best_weights(self._run, self.model)
        if params["plateau"] and settings.lowers_learning_rate(values, params["plateau"]):
            rate = self.model.optimizer.learning_rate
            if not hasattr(rate, "assign"):
                raise InvalidInput(
                    "plateau needs a constant learning rate, but this task's follows a schedule.", "Leave plateau out."
                )
            rate.assign(rate * params["plateau_factor"])
        if params["patience"] and waited >= params["patience"]:
            self._progress.stopped = True
            self.model.stop_training = True
