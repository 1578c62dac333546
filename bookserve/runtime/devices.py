"""Names of devices, and what is asked of them. Training and serving read the names here.

=============  =================================================================================
``cpu``        the processor
``cuda``       the NVIDIA GPU with the most free memory; it is an error if none can be used
``cuda:N``     the NVIDIA GPU number N, from 0 on, as CUDA counts them
``auto``       serving: each batch where it is faster; training: a GPU if there is one
``gpu``        another name for ``cuda``; ``gpu:N`` for ``cuda:N``
=============  =================================================================================
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bookserve.errors import Failed, InvalidInput

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
#: What ``--device`` takes, for help and errors.
NAMES = "auto, cpu, cuda or cuda:N"


def parse_device(text: str) -> str:
    """The name of a device in its usual form: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InvalidInput: it is none of these, nor another name of one.
    """
    kind, colon, number = text.partition(":")
    if kind in (CUDA, "gpu") and (not colon or (number.isascii() and number.isdecimal() and len(number) < 4)):
        return f"{CUDA}:{int(number)}" if colon else CUDA
    if kind in (AUTO, CPU) and not colon:
        return kind
    raise InvalidInput(f"'{text}' is not a device; expected {NAMES}.", "gpu and gpu:N mean cuda and cuda:N.")


def gpu_number(device: str) -> int | None:
    """The number in ``cuda:N``; None for other names."""
    kind, _, number = device.partition(":")
    return int(number) if kind == CUDA and number else None


class DeviceConfig(msgspec.Struct, frozen=True):
    """The device that sessions are opened on, and how it is used."""

    #: A name in its usual form; see ``parse_device``.
    name: str = CPU
    #: Bytes of GPU memory that one graph may take for its weights and tensors; 0: no limit.
    gpu_memory: int = 0
    #: Whether products may be computed in TF32, which rounds the factors to 10 bits.
    tf32: bool = False
    #: Whether ``auto`` measures each graph when it is opened.
    measure: bool = True
    #: Whether CUDA graphs of a few batch sizes are tried, and used where they measure faster.
    cuda_graphs: bool = False
    #: GPUs that one graph may use at once, while it has much to do.
    replicas: int = 1
    #: Directory in which measurements are kept; None: they are not kept.
    cache: Path | None = None

    @classmethod
    def of(cls, device: str | DeviceConfig) -> DeviceConfig:
        """``device`` itself, or what its name means."""
        return device if isinstance(device, DeviceConfig) else cls(parse_device(device))

    def with_name(self, name: str) -> DeviceConfig:
        """The same for another device."""
        return msgspec.structs.replace(self, name=parse_device(name))


class Gpu(msgspec.Struct, frozen=True):
    """One GPU."""

    #: Its name here: ``cuda:0``.
    device: str
    #: Its maker's name for it, such as ``NVIDIA H200``.
    name: str
    #: Bytes of memory in all, and of those that no program uses.
    total: int = 0
    free: int = 0

    def __str__(self) -> str:
        size = f", {self.total / 2**30:.0f} GiB" if self.total else ""
        return f"{self.device} ({self.name}{size})"


class DeviceUnavailable(Failed):
    """A GPU cannot be used; the message says what is missing, the hint how to get it."""


class OutOfMemory(Failed):
    """A run, or opening a graph, needs more memory than the GPU has."""


class DeviceLost(Failed):
    """The GPU has failed: nothing will run on it in this process any more."""
