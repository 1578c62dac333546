"""TensorFlow Serving's ModelService: the states of versions, and a configuration that is refused or understood."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value

from bookserve.errors import InvalidInput
from serve.tfs import tfs_pb2 as pb
from serve.tfs.models import source
from tests.servers import Server, start

SERVICE = "/tensorflow.serving.ModelService/"


def status(channel: grpc.Channel, **spec: Any) -> pb.GetModelStatusResponse:
    request = pb.GetModelStatusRequest(model_spec=pb.ModelSpec(**spec))
    answer = channel.unary_unary(f"{SERVICE}GetModelStatus")(request.SerializeToString(), timeout=30)
    return pb.GetModelStatusResponse.FromString(answer)


def test_the_states_of_versions(channel: grpc.Channel) -> None:
    available = pb.ModelVersionStatus(version=2, state="AVAILABLE", status=pb.StatusProto())
    assert available in status(channel, name="digits").model_version_status
    assert list(status(channel, name="digits", version=Int64Value(value=2)).model_version_status) == [available]


@pytest.mark.parametrize(
    ("spec", "code", "error"),
    [
        ({}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"name": "nothing"}, "NOT_FOUND", "Could not find any versions of model nothing"),
        (
            {"name": "affine", "version": Int64Value(value=9)},
            "NOT_FOUND",
            "Could not find version 9 of model affine",
        ),
        (
            {"name": "affine", "version_label": "x"},
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        ),
    ],
)
def test_versions_that_are_not_there(channel: grpc.Channel, spec: Any, code: str, error: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        status(channel, **spec)
    assert (caught.value.code().name, caught.value.details()) == (code, error)


def reload(server: Server, config: pb.ModelServerConfig | None) -> tuple[str, str]:
    with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(f"{SERVICE}HandleReloadConfigRequest")
        try:
            call(pb.ReloadConfigRequest(config=config).SerializeToString(), timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def listed(**config: Any) -> pb.ModelServerConfig:
    return pb.ModelServerConfig(model_config_list=pb.ModelConfigList(config=[pb.ModelConfig(**config)]))


def test_a_new_configuration_is_refused_unless_the_operator_allows_it(server: Server) -> None:
    code, details = reload(server, listed(name="a", base_path="/a"))
    assert code == "PERMISSION_DENIED"
    assert "--model-control" in details


def test_a_configuration_that_cannot_be_read(models: Any) -> None:
    with start(models, "--model-control") as server:
        custom = pb.ModelServerConfig(custom_model_config=AnyMessage())
        assert reload(server, custom)[0] == "UNIMPLEMENTED"
        assert reload(server, None)[0] == "INVALID_ARGUMENT"
        assert reload(server, listed(base_path="/a"))[0] == "INVALID_ARGUMENT"


def test_a_configuration_as_the_repository_sees_it() -> None:
    config = pb.ModelConfig(name="a", base_path="/models/a", version_labels={"stable": 3})
    found = source(config)
    assert (found.name, found.path, found.latest, found.specific, found.labels) == (
        "a",
        "/models/a",
        1,
        (),
        {"stable": 3},
    )
    config.model_version_policy.latest.num_versions = 2
    assert source(config).latest == 2
    config.model_version_policy.all.SetInParent()
    assert source(config).latest == 0
    config.model_version_policy.specific.versions.extend([3, 5])
    assert source(config).specific == (3, 5)
    config.model_version_policy.specific.ClearField("versions")
    with pytest.raises(InvalidInput, match="names none"):
        source(config)
