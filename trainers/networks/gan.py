# ruff: noqa: TID253 - imported only inside functions of the command line
"""Define a GAN (generator and discriminator) as one Keras model with one training step (section 8.5).

One step is one iteration of listing 8.32. The book uses a prediction and two trainings of compiled models; here it is
one graph without unused computations. It works with TensorFlow and with JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

LATENT = 32
#: The slope of LeakyReLU for negative values: Keras's default at the time of the book.
_SLOPE = 0.3
#: Gradients are clipped to ±``_CLIP``; learning rates decay by ``_DECAY`` per iteration (listing 8.30).
_CLIP, _DECAY = 1.0, 1e-8


def build_generator(width: float) -> keras.Model:
    """Latent points float32 [batch, 32] → pictures float32 [batch, 32, 32, 3] in [-1, 1]; listing 8.29 for width 1."""
    filters = round(256 * width)
    latent = keras.Input((LATENT,), name="latent")
    x = layers.LeakyReLU(_SLOPE)(layers.Dense(filters // 2 * 16 * 16)(latent))
    x = layers.Reshape((16, 16, filters // 2))(x)
    x = layers.LeakyReLU(_SLOPE)(layers.Conv2D(filters, 5, padding="same")(x))
    x = layers.LeakyReLU(_SLOPE)(layers.Conv2DTranspose(filters, 4, strides=2, padding="same")(x))
    x = layers.LeakyReLU(_SLOPE)(layers.Conv2D(filters, 5, padding="same")(x))
    x = layers.LeakyReLU(_SLOPE)(layers.Conv2D(filters, 5, padding="same")(x))
    x = layers.Conv2D(3, 7, padding="same", activation="tanh")(x)
    return keras.Model({"latent": latent}, {"image": x}, name="generator")


def build_discriminator(width: float) -> keras.Model:
    """Pictures float32 [batch, 32, 32, 3] → the probability that one is generated [batch, 1]; listing 8.30."""
    filters = round(128 * width)
    image = keras.Input((32, 32, 3), name="image")
    x = layers.LeakyReLU(_SLOPE)(layers.Conv2D(filters, 3)(image))
    for _ in range(3):
        x = layers.LeakyReLU(_SLOPE)(layers.Conv2D(filters, 4, strides=2)(x))
    x = layers.Dropout(0.4)(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x), name="discriminator")


@keras.saving.register_keras_serializable("bookserve")
class Adversaries(keras.Model):  # type: ignore[misc]
    """Generator and discriminator, trained together.

    The discriminator's learning rate is the optimizer's, the generator's is ``generator_rate``.

    The generator's pictures keep changing with each iteration. So a third network, ``average``, has the moving average
    of the generator's weights; it is the one that is saved and served. ``averaging`` is the decay of the average per
    iteration; with 0 it equals the generator. Source: Yazıcı et al., The Unusual Effectiveness of Averaging in GAN
    Training, 2019.
    """

    def __init__(
        self, width: float, generator_rate: float, label_noise: float, averaging: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.width, self.averaging = width, averaging
        self.generator_rate, self.label_noise = generator_rate, label_noise
        self.generator, self.discriminator = build_generator(width), build_discriminator(width)
        self.average = keras.models.clone_model(self.generator)
        self.average.set_weights(self.generator.get_weights())
        self.average.trainable = False
        self.seed = keras.random.SeedGenerator()
        self.discriminator_loss = keras.metrics.Mean(name="discriminator_loss")
        self.adversarial_loss = keras.metrics.Mean(name="adversarial_loss")
        self.built = True

    def call(self, latent: Any) -> Any:
        return self.generator({"latent": latent})["image"]

    def count_params(self) -> int:
        """The number of parameters of the generator and the discriminator."""
        return int(self.generator.count_params() + self.discriminator.count_params())

    def get_config(self) -> dict[str, Any]:
        own = ("width", "generator_rate", "label_noise", "averaging")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}

    def iterate(self, real: Any) -> dict[str, Any]:
        """One iteration on real pictures [batch, 32, 32, 3]: train first the discriminator, then the generator."""
        count = ops.shape(real)[0]
        fake = self(self._points(count), training=True)
        pictures = ops.concatenate([fake, real])
        labels = ops.concatenate([ops.ones((count, 1)), ops.zeros((count, 1))])  # generated is 1, real is 0
        labels += self.label_noise * keras.random.uniform(ops.shape(labels), seed=self.seed)

        def discriminator_loss() -> Any:
            return _cross_entropy(labels, self.discriminator(pictures, training=True))

        points = self._points(count)

        def generator_loss() -> Any:
            probabilities = self.discriminator(self(points, training=True), training=True)
            return _cross_entropy(ops.zeros((count, 1)), probabilities)

        rate = self.optimizer.learning_rate
        self.discriminator_loss.update_state(self._update_weights(discriminator_loss, self.discriminator, rate))
        self.adversarial_loss.update_state(self._update_weights(generator_loss, self.generator, self.generator_rate))
        self._update_average()
        self.optimizer.iterations.assign_add(1)
        return {metric.name: metric.result() for metric in (self.discriminator_loss, self.adversarial_loss)}

    def _points(self, count: Any) -> Any:
        return keras.random.normal((count, LATENT), seed=self.seed)

    def _update_weights(self, loss: Callable[[], Any], network: keras.Model, rate: Any) -> Any:
        """Change the weights of ``network``, and only those, to reduce ``loss``; return the loss."""
        weights = network.trainable_variables
        value, gradients = _gradients(loss, weights, self.variables)
        decayed = rate / (1 + _DECAY * ops.cast(self.optimizer.iterations, "float32"))
        for gradient, weight in zip(gradients, weights, strict=True):
            self.optimizer.update_step(ops.clip(gradient, -_CLIP, _CLIP), weight, decayed)
        return value

    def _update_average(self) -> None:
        """Update the moving average of the generator's weights; its decay is smaller in the first iterations."""
        iterations = ops.cast(self.optimizer.iterations, "float32")
        decay = ops.minimum(self.averaging, (1 + iterations) / (10 + iterations))
        for average, weight in zip(self.average.variables, self.generator.variables, strict=True):
            average.assign(decay * average + (1 - decay) * weight)

    def train_step(self, *given: Any) -> Any:
        """One step. TensorFlow passes a batch; JAX also passes the values of all variables, and gets the new ones."""
        if keras.backend.backend() != "jax":
            (data,) = given
            return self.iterate(data[0])
        state, data = given
        groups = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        mapping = [
            pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)
        ]
        with keras.StatelessScope(mapping) as scope:
            logs = self.iterate(data[0])
        return logs, tuple([scope.get_current_value(variable) for variable in group] for group in groups)


def _cross_entropy(labels: Any, probabilities: Any) -> Any:
    return ops.mean(keras.losses.binary_crossentropy(labels, probabilities))


def _gradients(
    loss: Callable[[], Any], weights: Sequence[keras.Variable], others: Sequence[keras.Variable]
) -> tuple[Any, Sequence[Any]]:
    """The loss and its gradient for each of ``weights``; computing it may change ``others``, such as random states."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in weights])
            value = loss()
        return value, tape.gradient(value, [weight.value for weight in weights])
    import jax

    now = {id(variable): (variable, variable.value) for variable in (*others, *weights)}

    def stateless(values: Sequence[Any]) -> Any:
        mapping = {**now, **{id(weight): (weight, value) for weight, value in zip(weights, values, strict=True)}}
        with keras.StatelessScope(list(mapping.values())) as scope:
            value = loss()
        return value, [scope.get_current_value(variable) for variable in others]

    (value, after), gradients = jax.value_and_grad(stateless, has_aux=True)([weight.value for weight in weights])
    for variable, changed in zip(others, after, strict=True):
        variable.assign(changed)
    return value, gradients
