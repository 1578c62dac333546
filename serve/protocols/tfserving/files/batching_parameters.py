"""Reads a ``batching_parameters_file``: TensorFlow Serving's BatchingParameters in protobuf's text format.

``num_batch_threads`` and ``thread_pool_name`` are ignored: a graph has one batching thread here. Requests larger than
the largest batch are always split, so ``enable_large_batch_splitting`` only decides which sizes are valid.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from bookserve.errors import InvalidInput
from serve.batching.batch_config import BatchConfig
from serve.protocols.tfserving.files import files_pb2 as pb
from serve.protocols.tfserving.files.text_file import read_text_file


def read_batching_parameters(path: Path) -> BatchConfig:
    """The batching configuration in a file. Fields that it leaves out keep their defaults.

    Raises:
        NotFound: no such file.
        InvalidInput: it is not BatchingParameters in text format, or its sizes contradict each other.
    """
    parameters = pb.BatchingParameters()
    example = "max_batch_size { value: 128 }  allowed_batch_sizes: 8  allowed_batch_sizes: 128"
    read_text_file(path, parameters, "tensorflow.serving.BatchingParameters", example)
    return batch_config_of(parameters)


def batch_config_of(parameters: pb.BatchingParameters) -> BatchConfig:
    """The batching configuration in a message.

    Raises:
        InvalidInput: a number is below its minimum, or the allowed sizes do not end with the largest batch size.
    """
    default = BatchConfig()
    for name, minimum in (
        ("max_batch_size", 1),
        ("batch_timeout_micros", 0),
        ("max_enqueued_batches", 1),
        ("num_batch_threads", 1),
        ("max_execution_batch_size", 1),
    ):
        if parameters.HasField(name) and getattr(parameters, name).value < minimum:
            raise InvalidInput(f"{name} is {getattr(parameters, name).value}; it must be at least {minimum}.")
    largest = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else default.run_limit
    splitting = parameters.enable_large_batch_splitting.value
    executed = largest
    if parameters.HasField("max_execution_batch_size"):
        executed = parameters.max_execution_batch_size.value
        if executed > largest:
            raise InvalidInput(
                f"max_execution_batch_size ({executed}) must be less than or equal to max_batch_size ({largest})."
            )
        executed = executed if splitting else largest
    sizes = tuple(parameters.allowed_batch_sizes)
    is_limited = sizes or parameters.HasField("max_batch_size") or parameters.HasField("max_execution_batch_size")
    if sizes:
        if any(size < 1 or size >= after for size, after in pairwise((*sizes, sizes[-1] + 1))):
            raise InvalidInput("allowed_batch_sizes entries must be positive and in increasing order.")
        if sizes[-1] != executed:
            raise InvalidInput(
                f"Last entry in allowed_batch_sizes must match {'max_execution_batch_size' if splitting else ''}"
                f"{'' if splitting else 'max_batch_size'}; last is {sizes[-1]}; expected {executed}."
            )
    queue = parameters.max_enqueued_batches.value * executed if parameters.HasField("max_enqueued_batches") else None
    return BatchConfig(
        max_rows=executed if is_limited else None,
        max_delay=parameters.batch_timeout_micros.value / 1e6,
        sizes=sizes,
        max_waiting=queue or default.max_waiting,
        pad=parameters.pad_variable_length_inputs,
    )
