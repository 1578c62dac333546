"""TensorFlow Serving's ModelService: the states of versions, and a configuration that is refused or understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.api import tfserving_pb2 as tfs
from serve.protocols.tfserving.files import files_pb2 as pb
from tests.servers import Server, start

pytestmark = pytest.mark.slow  # starts servers

SERVICE = "/tensorflow.serving.ModelService/"


def status(channel: grpc.Channel, **spec: Any) -> tfs.GetModelStatusResponse:
    request = tfs.GetModelStatusRequest(model_spec=tfs.ModelSpec(**spec))
    answer = channel.unary_unary(f"{SERVICE}GetModelStatus")(request.SerializeToString(), timeout=30)
    return tfs.GetModelStatusResponse.FromString(answer)


def test_the_states_of_versions(channel: grpc.Channel) -> None:
    available = tfs.ModelVersionStatus(version=2, state="AVAILABLE", status=tfs.StatusProto())
    assert available in status(channel, name="digits").model_version_status
    assert list(status(channel, name="digits", version=Int64Value(value=2)).model_version_status) == [available]
    labelled = status(channel, name="digits", version_label="none")  # a label is not looked up
    assert available in labelled.model_version_status


@pytest.mark.parametrize(
    ("spec", "code", "error"),
    [
        ({}, "NOT_FOUND", "Could not find any versions of model"),
        ({"name": "nothing"}, "NOT_FOUND", "Could not find any versions of model nothing"),
        (
            {"name": "affine", "version": Int64Value(value=9)},
            "NOT_FOUND",
            "Could not find version 9 of model affine",
        ),
    ],
)
def test_versions_that_are_not_there(channel: grpc.Channel, spec: Any, code: str, error: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        status(channel, **spec)
    assert (caught.value.code().name, caught.value.details()) == (code, error)


def reload(server: Server, config: pb.ModelServerConfig) -> tuple[str, str]:
    request = tfs.ReloadConfigRequest(config=config.SerializeToString())
    with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(f"{SERVICE}HandleReloadConfigRequest")
        try:
            call(request.SerializeToString(), timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def listed(*configs: pb.ModelConfig) -> pb.ModelServerConfig:
    return pb.ModelServerConfig(model_config_list=pb.ModelConfigList(config=configs))


def test_a_new_configuration_is_refused_unless_the_operator_allows_it(server: Server) -> None:
    code, details = reload(server, listed(pb.ModelConfig(name="a", base_path="/a")))
    assert code == "PERMISSION_DENIED"
    assert "--model-control" in details


def test_a_new_configuration_is_served_and_only_it(models: Path) -> None:
    with start(models, "--model-control") as server:
        config = pb.ModelConfig(name="numbers", base_path=str(models / "affine"), version_labels={"stable": 1})
        assert reload(server, listed(config)) == ("OK", "")
        with httpx.Client(base_url=server.http, trust_env=False) as http:
            rows = {"instances": [[0, 1, 2]]}
            for path in ("numbers", "numbers/versions/1", "numbers/labels/stable"):
                assert http.post(f"/v1/models/{path}:predict", json=rows).json() == {"predictions": [[1, 3, 5]]}
            assert http.post("/v1/models/affine:predict", json=rows).status_code == 404
            assert http.post("/v1/models/numbers/labels/x:predict", json=rows).status_code == 400


def test_a_configuration_that_cannot_be_served(models: Path) -> None:
    one = pb.ModelConfig(name="a", base_path=str(models / "affine"))
    with start(models, "--model-control") as server:
        for config, words in (
            (pb.ModelServerConfig(custom_model_config=AnyMessage()), "Only ModelConfigList is currently supported"),
            (pb.ModelServerConfig(), "ServerModelConfig type not supported by HandleReloadConfigRequest"),
            (listed(pb.ModelConfig(base_path="/a")), "has no name"),
            (listed(pb.ModelConfig(name="a", base_path="a")), "absolute path"),
            (listed(one, one), "Illegal to list model a multiple times in config list"),
        ):
            code, details = reload(server, config)
            assert code == "INVALID_ARGUMENT"
            assert words in details
        gone = pb.ModelConfig(name="gone", base_path="/nowhere/gone")
        code, details = reload(server, listed(gone, pb.ModelConfig(name="affine", base_path=str(models / "affine"))))
        assert code == "UNKNOWN"
        assert details.startswith(
            "1 model(s) did not become available: {{Name: gone} due to error: no version in /nowh"
        )
        assert httpx.get(f"{server.http}/v1/models/affine", trust_env=False).status_code == 200
