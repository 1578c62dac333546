"""What the tests expect of each task: the names of its graphs, inputs and outputs, and its number of parameters."""

from __future__ import annotations

import itertools

Sides = tuple[dict[str, str], dict[str, str]]


def predict(inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Sides]:
    """The one graph of a model that predicts."""
    return {"serving_default": (inputs, outputs)}


def pets(size: int) -> dict[str, Sides]:
    """Photos of cats and dogs, of that many pixels a side."""
    return predict({"image": f"float32[batch, {size}, {size}, 3]"}, {"probability": "float32[batch, 1]"})


SHAPES, SMALL_SHAPES = (
    predict({"image": f"float32[batch, {size}, {size}, 3]"}, {"probabilities": "float32[batch, 10]"})
    for size in (64, 32)
)


def climate(steps: int) -> dict[str, Sides]:
    """Windows of the weather, of that many rows."""
    return predict({"weather": f"float32[batch, {steps}, 14]"}, {"temperature": "float32[batch, 1]"})


REVIEWS = predict({"tokens": "int32[batch, 100]"}, {"probability": "float32[batch, 1]"})
MULTI_HOT = predict({"words": "float32[batch, 200]"}, {"probability": "float32[batch, 1]"})
WIRES = predict({"words": "float32[batch, 1000]"}, {"probabilities": "float32[batch, 46]"})

#: The convnets of one picture, whose graphs can also be explained by.
EXPLAINED = {
    "mnist_convnet",
    "imagenet_classifier",
    "imagenet_vgg16",
    *(f"cats_dogs_{kind}" for kind in ("convnet", "augmented", "features", "finetuned", "frozen")),
    "inception_block",
    "residual_block",
    "separable_convnet",
    "template_separable_convnet",
}

#: On sample data. V stands for the number of characters in it.
GRAPHS: dict[str, dict[str, Sides]] = {
    "mnist_dense": predict({"image": "float32[batch, 784]"}, {"probabilities": "float32[batch, 10]"}),
    "imdb_dense": MULTI_HOT,
    "reuters_dense": WIRES,
    "reuters_bottleneck": WIRES,
    "boston_housing": predict({"features": "float32[batch, 13]"}, {"price": "float32[batch, 1]"}),
    "imdb_small": MULTI_HOT,
    "imdb_large": MULTI_HOT,
    "imdb_l2": MULTI_HOT,
    "imdb_dropout": MULTI_HOT,
    "mnist_convnet": predict({"image": "float32[batch, 28, 28, 1]"}, {"probabilities": "float32[batch, 10]"}),
    "cats_dogs_convnet": pets(64),
    "cats_dogs_augmented": pets(64),
    "cats_dogs_features": pets(64),
    "cats_dogs_frozen": pets(64),
    "cats_dogs_finetuned": pets(96),
    "imagenet_classifier": predict({"image": "float32[batch, 96, 96, 3]"}, {"probabilities": "float32[batch, 1000]"}),
    "imagenet_vgg16": predict({"image": "float32[batch, 96, 96, 3]"}, {"probabilities": "float32[batch, 1000]"}),
    "imdb_embedding": predict({"tokens": "int32[batch, 20]"}, {"probability": "float32[batch, 1]"}),
    "imdb_simple_rnn": REVIEWS,
    "imdb_lstm": predict({"tokens": "int32[batch, 500]"}, {"probability": "float32[batch, 1]"}),
    "imdb_lstm_reversed": REVIEWS,
    "imdb_bilstm": REVIEWS,
    "imdb_conv1d": REVIEWS,
    "imdb_glove": predict({"tokens": "int32[batch, 40]"}, {"probability": "float32[batch, 1]"}),
    "imdb_scratch_embedding": predict({"tokens": "int32[batch, 40]"}, {"probability": "float32[batch, 1]"}),
    **{f"jena_{kind}": climate(48) for kind in ("baseline", "dense", "gru", "gru_dropout", "gru_stacked", "bigru")},
    "jena_conv1d": climate(120),
    "jena_conv_gru": climate(96),
    "question_answering": predict(
        {"text": "int32[batch, 20]", "question": "int32[batch, 5]"}, {"answer": "float32[batch, 500]"}
    ),
    "profile_posts": predict(
        {"posts": "int32[batch, 300]"},
        {"age": "float32[batch, 1]", "income": "float32[batch, 10]", "gender": "float32[batch, 1]"},
    ),
    "inception_block": SMALL_SHAPES,
    "residual_block": SHAPES,
    "siamese_lstm": predict(
        {"left": "float32[batch, 9, 128]", "right": "float32[batch, 9, 128]"}, {"probability": "float32[batch, 1]"}
    ),
    "siamese_xception": predict(
        {"left": "float32[batch, 71, 71, 3]", "right": "float32[batch, 71, 71, 3]"},
        {"probability": "float32[batch, 1]"},
    ),
    "imdb_conv1d_tensorboard": REVIEWS,
    "separable_convnet": SHAPES,
    "imdb_ensemble": REVIEWS,
    "template_dense_binary": predict({"features": "float32[batch, 16]"}, {"probability": "float32[batch, 1]"}),
    "template_dense_multiclass": predict({"features": "float32[batch, 16]"}, {"probabilities": "float32[batch, 10]"}),
    "template_dense_multilabel": predict({"features": "float32[batch, 16]"}, {"probabilities": "float32[batch, 10]"}),
    "template_dense_regression": predict({"features": "float32[batch, 16]"}, {"values": "float32[batch, 2]"}),
    "template_separable_convnet": SMALL_SHAPES,
    "template_lstm": predict({"signal": "float32[batch, 20, 4]"}, {"probabilities": "float32[batch, 4]"}),
    "template_lstm_stacked": predict({"signal": "float32[batch, 20, 4]"}, {"probabilities": "float32[batch, 4]"}),
    "nietzsche_lstm": {
        "serving_default": ({"characters": "int32[batch, 60]"}, {"probabilities": "float32[batch, V]"}),
        "step": (
            {"characters": "int32[batch, time]", "h": "float32[batch, 128]", "c": "float32[batch, 128]"},
            {"probabilities": "float32[batch, V]", "next_h": "float32[batch, 128]", "next_c": "float32[batch, 128]"},
        ),
    },
    "cifar10_gan": {"decode": ({"latent": "float32[batch, 32]"}, {"image": "float32[batch, 32, 32, 3]"})},
    "deepdream": {
        "gradient": (
            {"image": "float32[batch, height, width, 3]", "contributions": "float32[batch, 3]"},
            {"loss": "float32[batch]", "gradient": "float32[batch, height, width, 3]"},
        ),
    },
    "style_transfer": {
        "gradient": (
            {
                "image": "float32[batch, height, width, 3]",
                "content": "float32[batch, numbers]",
                "style": "float32[batch, 21504]",
                "weights": "float32[batch, 3]",
            },
            {"loss": "float32[batch]", "gradient": "float32[batch, height, width, 3]"},
        ),
        "features": (
            {"image": "float32[batch, height, width, 3]"},
            {"content": "float32[batch, numbers]", "style": "float32[batch, 21504]"},
        ),
    },
    "mnist_vae": {
        "decode": ({"latent": "float32[batch, 2]"}, {"image": "float32[batch, 28, 28, 1]"}),
        "encode": (
            {"image": "float32[batch, 28, 28, 1]"},
            {"mean": "float32[batch, 2]", "log_variance": "float32[batch, 2]"},
        ),
    },
}


def conv(size: int, inputs: int, outputs: int) -> int:
    """Numbers in a convolution with a square kernel of that many pixels a side."""
    return size * size * inputs * outputs + outputs


def dense(*units: int) -> int:
    """Numbers in dense layers that stand in a row."""
    return sum(before * after + after for before, after in itertools.pairwise(units))


def gru(inputs: int, units: int) -> int:
    """Numbers in a GRU as Keras builds it now, with two biases for each gate."""
    return 3 * (units * (inputs + units) + 2 * units)


def lstm(inputs: int, units: int) -> int:
    """Numbers in an LSTM."""
    return 4 * (units * (inputs + units) + units)


def separable(*channels: int) -> int:
    """Numbers in separable 3×3 convolutions that stand in a row."""
    return sum(9 * before + before * after + after for before, after in itertools.pairwise(channels))


_LIGHT = (3, 32, 64, 64, 128, 64, 128)


#: With the book's parameters: printed there (listings 5.2, …), or reckoned from its layers. None: the data decides.
PARAMETERS: dict[str, int | None] = {
    "mnist_dense": dense(784, 512, 10),
    "imdb_dense": dense(10_000, 16, 16, 1),
    "reuters_dense": dense(10_000, 64, 64, 46),
    "reuters_bottleneck": dense(10_000, 64, 4, 46),
    "boston_housing": dense(13, 64, 64, 1),
    "imdb_small": dense(10_000, 4, 4, 1),
    "imdb_large": dense(10_000, 512, 512, 1),
    "imdb_l2": dense(10_000, 16, 16, 1),
    "imdb_dropout": dense(10_000, 16, 16, 1),
    "mnist_convnet": 93_322,
    "cats_dogs_convnet": 3_453_121,
    "cats_dogs_augmented": 3_453_121,
    "cats_dogs_features": dense(4 * 4 * 512, 256, 1),
    "cats_dogs_frozen": 16_812_353,
    "cats_dogs_finetuned": 16_812_353,
    "imagenet_classifier": 3_538_984,
    "imagenet_vgg16": 138_357_544,
    "imdb_embedding": 10_000 * 8 + dense(20 * 8, 1),
    "imdb_simple_rnn": 10_000 * 32 + 32 * (32 + 32 + 1) + dense(32, 1),
    "imdb_lstm": 10_000 * 32 + 4 * (32 * (32 + 32) + 32) + dense(32, 1),
    "imdb_lstm_reversed": 10_000 * 128 + 4 * (32 * (128 + 32) + 32) + dense(32, 1),
    "imdb_bilstm": 10_000 * 32 + 2 * 4 * (32 * (32 + 32) + 32) + dense(64, 1),
    "imdb_conv1d": 10_000 * 128 + (7 * 128 * 32 + 32) + (7 * 32 * 32 + 32) + dense(32, 1),
    "imdb_glove": 10_000 * 100 + dense(100 * 100, 32, 1),
    "imdb_scratch_embedding": 10_000 * 100 + dense(100 * 100, 32, 1),
    "jena_baseline": 0,
    "jena_dense": dense(240 * 14, 32, 1),
    "jena_gru": gru(14, 32) + dense(32, 1),
    "jena_gru_dropout": gru(14, 32) + dense(32, 1),
    "jena_gru_stacked": gru(14, 32) + gru(32, 64) + dense(64, 1),
    "jena_bigru": 2 * gru(14, 32) + dense(64, 1),
    "jena_conv1d": (5 * 14 * 32 + 32) + 2 * (5 * 32 * 32 + 32) + dense(32, 1),
    "jena_conv_gru": (5 * 14 * 32 + 32) + (5 * 32 * 32 + 32) + gru(32, 32) + dense(32, 1),
    "imdb_ensemble": (10_000 * 8 + dense(20 * 8, 1))
    + (10_000 * 32 + 32 * (32 + 32 + 1) + dense(32, 1))
    + (10_000 * 32 + 4 * (32 * (32 + 32) + 32) + dense(32, 1))
    + (10_000 * 128 + (7 * 128 * 32 + 32) + (7 * 32 * 32 + 32) + dense(32, 1))
    + 4,
    "question_answering": 10_000 * 64 + lstm(64, 32) + 10_000 * 32 + lstm(32, 16) + dense(48, 500),
    "profile_posts": 50_000 * 256
    + (5 * 256 * 128 + 128 + 5 * 128 * 256 + 256 + 3 * (5 * 256 * 256 + 256))
    + dense(256, 128)
    + dense(128, 1)
    + dense(128, 10)
    + dense(128, 1),
    "inception_block": 4 * conv(1, 3, 128) - conv(1, 3, 128) + 3 * conv(3, 128, 128) + conv(3, 3, 128) + dense(512, 10),
    "residual_block": conv(3, 3, 128) + 5 * conv(3, 128, 128) + conv(1, 128, 128) + dense(128, 10),
    "siamese_lstm": lstm(128, 32) + dense(64, 1),
    "siamese_xception": 20_861_480 + dense(2 * 2048, 1),
    "imdb_conv1d_tensorboard": 2_000 * 128 + (7 * 128 * 32 + 32) + (7 * 32 * 32 + 32) + dense(32, 1),
    "separable_convnet": separable(*_LIGHT) + 4 * sum(_LIGHT[1:]) + dense(128, 32, 10),
    "template_dense_binary": dense(16, 32, 32, 1),
    "template_dense_multiclass": dense(16, 32, 32, 10),
    "template_dense_multilabel": dense(16, 32, 32, 10),
    "template_dense_regression": dense(16, 32, 32, 2),
    "template_separable_convnet": separable(*_LIGHT) + dense(128, 32, 10),
    "template_lstm": lstm(4, 32) + dense(32, 4),
    "template_lstm_stacked": lstm(4, 32) + 2 * lstm(32, 32) + dense(32, 4),
    "nietzsche_lstm": None,
    "mnist_vae": 550_629,
    "deepdream": 5_138_656,  # InceptionV3 up to mixed5
    "style_transfer": 20_024_384 - 2 * conv(3, 512, 512),  # VGG19 up to block5_conv2
    "cifar10_gan": dense(32, 128 * 16 * 16)
    + (conv(5, 128, 256) + conv(4, 256, 256) + 2 * conv(5, 256, 256) + conv(7, 256, 3))
    + (conv(3, 3, 128) + 3 * conv(4, 128, 128) + dense(2 * 2 * 128, 1)),
}
