"""The list of models names those that cannot be asked, and why."""

from __future__ import annotations

from pathlib import Path

from tests import bundles
from tests.serve.in_process import application_client


def test_a_model_that_cannot_be_loaded_is_listed_with_the_reason(tmp_path: Path) -> None:
    bundles.write_affine(tmp_path)
    bundles.write_plane(tmp_path)
    with application_client(tmp_path) as client:
        assert "not_live" not in client.get("/api/models").json()
    file = tmp_path / "plane" / "1" / "encode.onnx"
    file.write_bytes(file.read_bytes() + b"damaged")
    with application_client(tmp_path) as client:
        listed = client.get("/api/models").json()
    assert [model["name"] for model in listed["models"]] == ["affine"]
    (other,) = listed["not_live"]
    assert (other["name"], other["version"], other["state"]) == ("plane", 1, "END")
    assert "encode.onnx" in other["error"]
