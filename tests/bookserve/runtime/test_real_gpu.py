"""The trained models on a real GPU: answers, recorded batch sizes, pinned memory, and the choice of the device.

Without a GPU these tests skip, or fail if ``make test-gpu`` asked for them. So far nobody has run them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bookserve import bundle
from bookserve.bundle import parity
from bookserve.errors import Failed
from bookserve.runtime import DeviceConfig, DeviceSession, open_sessions
from bookserve.runtime.cuda import pin
from bookserve.runtime.devices import DeviceUnavailable
from bookserve.runtime.fixed_sizes import SIZES, takes_fixed_sizes
from bookserve.runtime.onnx import OnnxRuntime, OnnxSession
from bookserve.runtime.placement import GraphFacts

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

PRETRAINED = Path(__file__).parents[3] / "pretrained"
NAMES = sorted(bundle.model_names(PRETRAINED))


@pytest.fixture(scope="module", autouse=True)
def device() -> str:
    try:
        return OnnxRuntime().gpus()[0].device
    except DeviceUnavailable as error:
        if os.environ.get("BOOKSERVE_TEST_GPU"):
            raise
        pytest.skip(error.message)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("asked", ["cuda", "auto"])
def test_every_graph_answers_on_the_gpu(name: str, asked: str, tmp_path: Path) -> None:
    opened = bundle.open_bundle(PRETRAINED, name)
    sessions = open_sessions(opened, device=DeviceConfig(asked, cache=tmp_path))
    for graph, example in opened.examples().graphs.items():
        session = sessions[graph]
        assert isinstance(session, DeviceSession) or asked == "auto"
        assert not parity.replay(opened.runnable[graph], example, session.run).problem


@pytest.mark.parametrize("name", NAMES)
def test_recorded_batch_sizes_give_the_answers_of_the_cpu(name: str, device: str) -> None:
    opened = bundle.open_bundle(PRETRAINED, name)
    graph_name, graph = opened.graph()
    if not takes_fixed_sizes(graph):
        pytest.skip("its sequences have any length")
    path = opened.path / str(graph.onnx)
    feeds_of = GraphFacts.of(opened, graph_name, opened.examples().graphs[graph_name].inputs).feeds_of
    try:
        fixed = OnnxRuntime().open_fixed_sizes(path, graph, SIZES, device, DeviceConfig(device), 1)
    except Failed as error:
        pytest.skip(f"CUDA cannot record it: {error.message}")
    plain = OnnxSession(path)
    for rows in (1, 32, 1, 32):
        for _ in range(3):  # the first runs are not recorded yet
            assert not parity.compare(plain.run(feeds_of(rows)), fixed.run(feeds_of(rows))).problem


def test_memory_is_pinned(device: str) -> None:
    assert pin(np.zeros(1 << 20, np.float32))
