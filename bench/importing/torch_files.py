# ruff: noqa: T201 - a script for an environment of its own
"""Write ONNX files with PyTorch's exporters, and what PyTorch answers: ``python torch_files.py FOLDER``.

``--dynamo`` uses the exporter of ``torch.export``, otherwise the one of TorchScript is used. It needs torch, onnx and
onnxscript, and imports nothing of the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

torch.manual_seed(5)


class Text(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.table, self.cell = nn.Embedding(40, 8), cell(8, 6, 2, batch_first=True, bidirectional=True)
        self.last = nn.Linear(12, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.last(self.cell(self.table(tokens))[0][:, -1])


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 5), nn.Linear(3, 5)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = functional.gelu(self.one(left)), torch.sigmoid(self.other(right))
        return a * b, functional.cosine_similarity(a, b)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        hidden = functional.silu(self.norm(self.first(picture))) + picture
        hidden = functional.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=False)
        return functional.adaptive_avg_pool2d(self.second(hidden), 1).flatten(1)


class Operators(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        order = torch.topk(x, 2, dim=-1)
        return torch.cumsum(x, 1), torch.where(x > 0, x, x.exp()), order.values, order.indices, x.norm(dim=-1)


def models() -> dict[str, tuple[nn.Module, dict[str, torch.Tensor]]]:
    """Each model with its inputs by name."""
    flat, picture, tokens = torch.randn(3, 6), torch.randn(3, 3, 16, 16), torch.randint(0, 40, (3, 7))
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
    convolutions = (nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3, groups=3), nn.Flatten())
    return {
        "dense": (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3), nn.Softmax(1)), {"x": flat}),
        "activations": (nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Mish(), nn.Hardswish(), nn.PReLU()), {"x": flat}),
        "cnn": (nn.Sequential(*convolutions, nn.LazyLinear(2)), {"input.1": picture}),
        "transposed": (nn.Sequential(nn.ConvTranspose2d(3, 2, 3, 2), nn.GroupNorm(2, 2), nn.Tanh()), {"x": picture}),
        "lstm": (Text(nn.LSTM), {"tokens": tokens}),
        "gru": (Text(nn.GRU), {"tokens": tokens}),
        "transformer": (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), {"x": torch.randn(3, 5, 8)}),
        "two": (Two(), {"left": torch.randn(3, 4), "right": torch.randn(3, 3)}),
        "residual": (Residual(), {"picture": picture}),
        "operators": (Operators(), {"x": torch.randn(3, 5)}),
        "double": (nn.Sequential(nn.Linear(6, 2).double()), {"x": flat.double()}),
    }


def write(folder: Path, name: str, model: nn.Module, inputs: dict[str, torch.Tensor], **settings: Any) -> None:
    """Write a model whose number of rows is free."""
    given = tuple(inputs.values())
    with torch.no_grad():
        answers = model(*given)
    answers = answers if isinstance(answers, tuple) else (answers,)
    names = {"input_names": list(inputs), "output_names": [f"out{place}" for place in range(len(answers))]}
    torch.onnx.export(model, given, str(folder / f"{name}.onnx"), **names, **settings)
    arrays = {f"x{place}": array.numpy() for place, array in enumerate(given)}
    np.savez(folder / name, **arrays, **{f"y{place}": array.numpy() for place, array in enumerate(answers)})


def main() -> None:
    """Write every model; the old exporter at several opsets, with a fixed and with a free number of rows."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--dynamo", action="store_true")
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name, (model, inputs) in models().items():
        model(*inputs.values())
        model.eval()
        axis = torch.export.Dim("batch", min=1, max=1024)
        tries: list[tuple[str, dict[str, Any]]]
        if chosen.dynamo:
            free = tuple({0: axis} for _ in inputs)
            tries = [(f"{name}_{opset}", {"opset_version": opset, "dynamic_shapes": free}) for opset in (18, 20)]
            tries = [(ending, {**settings, "dynamo": True}) for ending, settings in tries]
            tries += [(f"{name}_beside", {"dynamo": True, "dynamic_shapes": free, "external_data": True})]
            tries += [(f"{name}_fixed", {"dynamo": True})]
        else:
            free = {key: {0: "batch"} for key in inputs}
            opsets = (11, 13, 15, 17, 18, 20) if name in ("dense", "cnn", "lstm") else (14, 17)
            tries = [(f"{name}_{opset}", {"opset_version": opset, "dynamic_axes": free}) for opset in opsets]
            tries += [(f"{name}_fixed", {"opset_version": 17})]
            tries = [(ending, {**settings, "dynamo": False}) for ending, settings in tries]
        for ending, settings in tries:
            try:
                write(chosen.folder, ending, model, inputs, **settings)
            except Exception as error:  # PyTorch's exporters do not know every operator at every opset
                print(f"{ending}: left out: {type(error).__name__}: {str(error).splitlines()[0][:150]}")


if __name__ == "__main__":
    main()
