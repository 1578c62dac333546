"""Finds NVIDIA GPUs, and says what is missing where they cannot be used: driver, CUDA libraries, cuDNN.

The driver is asked through its own libraries, ``libcuda`` and ``libnvidia-ml``, which come with it. So nothing has to
be installed to get an answer, and without a driver the answer takes no time.
"""

from __future__ import annotations

import ctypes
import re
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from bookserve.errors import Failed
from bookserve.runtime.devices import DeviceLost, DeviceUnavailable, Gpu, OutOfMemory

#: CUDA's runtime library; programs with another version have pageable buffers.
_RUNTIME_LIBRARY = "cudart64_13.dll" if sys.platform == "win32" else "libcudart.so.13"
#: The driver's libraries: of CUDA, and of the monitoring that ``nvidia-smi`` shows.
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MONITOR = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
#: CUDA's code for a machine without a GPU, or with all of them hidden by ``CUDA_VISIBLE_DEVICES``.
_NO_DEVICE = 100
#: How ONNX Runtime, CUDA and its libraries say that memory is short.
_NO_MEMORY = re.compile(r"Failed to allocate|out of memory|smaller than requested|ALLOC_FAILED|CUDA failure 2:", re.I)
#: How they say that a GPU, or what they keep on it, has failed. Other failures of CUDA last as long as the process.
_LOST = re.compile(r"CUDA failure \d+|CUBLAS failure|CUDNN failure|CUDA error|no CUDA-capable device", re.I)
#: How to get what serving on a GPU needs besides the driver.
INSTALL = "pip install 'bookserve[cuda]'"


class Driver(NamedTuple):
    """NVIDIA's driver and the GPUs that it lets this process use."""

    #: The newest CUDA that it runs, such as (13, 0).
    cuda: tuple[int, int]
    gpus: list[Gpu]
    #: The driver's own version, such as ``580.65``; '' if it does not say.
    version: str = ""


def read_driver(driver: str = _DRIVER, monitor: str = _MONITOR) -> Driver:
    """Ask the driver, whose libraries have these names or paths.

    Raises:
        DeviceUnavailable: there is no driver, it does not work, or it shows no GPU.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError as error:
        raise DeviceUnavailable(
            f"NVIDIA's driver is not installed ({driver} is not found).",
            "Install the driver (nvidia-smi shows whether it works), or use --device cpu.",
        ) from error
    code = cuda.cuInit(0)
    if code == _NO_DEVICE:
        raise DeviceUnavailable(
            "NVIDIA's driver finds no GPU.",
            "Check nvidia-smi, and that CUDA_VISIBLE_DEVICES does not hide it. In a container: docker run --gpus all",
        )
    if code:
        raise DeviceUnavailable(
            f"NVIDIA's driver does not start: {_error_name(cuda, code)}.",
            "Check nvidia-smi. After an update of the driver, restart the machine.",
        )
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = number.value // 1000, number.value % 1000 // 10
    cuda.cuDeviceGetCount(ctypes.byref(number))
    with _monitor(monitor) as nvml:
        gpus = [_read_gpu(cuda, nvml, index) for index in range(number.value)]
        return Driver(version, gpus, _driver_version(nvml))


def missing_libraries(cuda: int) -> dict[str, str]:
    """The libraries of CUDA ``cuda`` (its major version) and cuDNN that cannot be loaded: file → its Python package.

    What is loaded stays loaded, so that ONNX Runtime finds it.
    """
    suffix = "" if cuda >= 13 else f"-cu{cuda}"
    needed = {
        f"libcudart.so.{cuda}": f"nvidia-cuda-runtime{suffix}",
        f"libcublasLt.so.{cuda}": f"nvidia-cublas{suffix}",
        f"libcublas.so.{cuda}": f"nvidia-cublas{suffix}",
        "libcurand.so.10": f"nvidia-curand{suffix}",
        "libcudnn.so.9": f"nvidia-cudnn-cu{cuda}",
    }
    if sys.platform == "win32":
        return {}  # ONNX Runtime itself says which one it does not find
    return {library: package for library, package in needed.items() if not _loads(library)}


def libraries_problem(cuda: int) -> DeviceUnavailable | None:
    """The error that names the missing libraries and their packages; None if there are all."""
    missing = missing_libraries(cuda)
    if not missing:
        return None
    packages = " ".join(sorted(set(missing.values())))
    return DeviceUnavailable(
        f"libraries of CUDA {cuda} are missing: {', '.join(sorted(missing))}.", f"{INSTALL} (it installs {packages})."
    )


def driver_problem(driver: Driver, built_for: str) -> DeviceUnavailable | None:
    """The error of a driver that is too old for programs built for CUDA ``built_for`` (such as ``13.0``)."""
    major = int(built_for.partition(".")[0])
    if driver.cuda[0] >= major:
        return None
    has = ".".join(map(str, driver.cuda))
    return DeviceUnavailable(
        f"NVIDIA's driver {driver.version} runs CUDA up to {has}; this ONNX Runtime is built for CUDA {built_for}.",
        f"Install a driver for CUDA {major}, or a version of onnxruntime-gpu that is built for CUDA {driver.cuda[0]}.",
    )


def gpu_error(error: Failed, device: str) -> Failed:
    """What went wrong on a GPU: ``OutOfMemory``, ``DeviceLost``, or ``error`` itself."""
    if _NO_MEMORY.search(error.message):
        return OutOfMemory(f"the memory of {device} is too small: {error.message}", "Send fewer rows.")
    if _LOST.search(error.message):
        return DeviceLost(f"{device} has failed: {error.message}", "Check nvidia-smi, and start again.")
    return error


def pin(array: np.ndarray, library: str = "") -> bool:
    """Let CUDA copy from and to the memory of ``array`` without a detour, as long as the array lives; whether it can.

    ``library`` is CUDA's runtime library, which is loaded already.
    """
    try:
        runtime = ctypes.CDLL(library or _RUNTIME_LIBRARY)
        address = ctypes.c_void_p(array.ctypes.data)
        if runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), 0):
            return False
    except (OSError, AttributeError):
        return False
    weakref.finalize(array, runtime.cudaHostUnregister, address)
    return True


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _read_gpu(cuda: Any, nvml: Any, index: int) -> Gpu:
    device = ctypes.c_int()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    name, bus = ctypes.create_string_buffer(128), ctypes.create_string_buffer(32)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetPCIBusId(bus, len(bus), device)
    total = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    free = _free_memory(nvml, bus.value)
    return Gpu(f"cuda:{index}", name.value.decode(errors="replace"), total.value, total.value if free is None else free)


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``: bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@contextmanager
def _monitor(path: str) -> Iterator[Any]:
    """NVIDIA's monitoring library; None where it is missing or does not work."""
    try:
        nvml = ctypes.CDLL(path)
    except OSError:
        nvml = None
    if nvml is None or nvml.nvmlInit_v2():
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _free_memory(nvml: Any, bus: bytes) -> int | None:
    """Free bytes of the GPU on that bus: CUDA and the monitoring library count GPUs differently."""
    handle, memory = ctypes.c_void_p(), _Memory()
    if nvml is None or nvml.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle)):
        return None
    return None if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) else int(memory.free)


def _driver_version(nvml: Any) -> str:
    text = ctypes.create_string_buffer(96)
    if nvml is None or nvml.nvmlSystemGetDriverVersion(text, len(text)):
        return ""
    return text.value.decode(errors="replace")


def _error_name(cuda: Any, code: int) -> str:
    text = ctypes.c_char_p()
    if cuda.cuGetErrorString(code, ctypes.byref(text)) or not text.value:
        return f"error {code}"
    return f"{text.value.decode(errors='replace')} (error {code})"
