"""What ``bench/fuzz.py`` searches: each parser takes its seeds, damaged ones, and whatever else comes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.garbage import damaged


def load() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).parents[3] / "bench/fuzz.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZ = load()


@pytest.mark.parametrize("name", FUZZ.PARSERS)
@given(data=st.data())
def test_parsers(name: str, data: st.DataObject) -> None:
    FUZZ.search(FUZZ.PARSERS[name], data.draw(damaged(st.sampled_from(FUZZ.seeds(name))) | st.binary(max_size=200)))


def test_an_example_of_each_is_taken_or_refused() -> None:
    for name, parse in FUZZ.PARSERS.items():
        for seed in FUZZ.seeds(name):
            FUZZ.search(parse, seed)
