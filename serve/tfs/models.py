"""TensorFlow Serving's gRPC API beside predictions: the service ``tensorflow.serving.ModelService``."""

from __future__ import annotations

from bookserve.errors import InvalidInput
from serve.control import Control, Source
from serve.doors import Doors
from serve.engine import Engine
from serve.service import Method, Service
from serve.tfs import status
from serve.tfs import tfs_pb2 as pb
from serve.tfs.servable import find, states


def service(engine: Engine, doors: Doors, control: Control) -> Service:
    """The state of a model's versions, and which models are served at all."""

    async def get_status(request: pb.GetModelStatusRequest) -> pb.GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        spec = request.model_spec
        if not spec.name:
            raise InvalidInput("ModelSpec has no name specified.")
        version = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        if spec.version_label:
            version = find(engine, spec.name, None, spec.version_label).version
        return pb.GetModelStatusResponse(
            model_version_status=[
                pb.ModelVersionStatus(
                    version=state.version,
                    state=state.state,
                    status=pb.StatusProto(error_code=status.UNKNOWN if state.error else 0, error_message=state.error),
                )
                for state in states(engine, spec.name, version)
            ]
        )

    async def reload(request: pb.ReloadConfigRequest) -> pb.ReloadConfigResponse:
        doors.check_control()
        if request.config.WhichOneof("config") == "custom_model_config":
            raise status.Unsupported("custom_model_config is not supported.", "Send a model_config_list.")
        if request.config.WhichOneof("config") is None:
            raise InvalidInput("the request has no model_config_list.")
        await control.reload([source(config) for config in request.config.model_config_list.config])
        return pb.ReloadConfigResponse(status=pb.StatusProto())

    return Service(
        "tensorflow.serving.ModelService",
        {
            "GetModelStatus": Method(get_status, pb.GetModelStatusRequest, pb.GetModelStatusResponse),
            "HandleReloadConfigRequest": Method(reload, pb.ReloadConfigRequest, pb.ReloadConfigResponse),
        },
        status.told,
    )


def source(config: pb.ModelConfig) -> Source:
    """One model of a ``models.config``.

    Raises:
        InvalidInput: it has no name or directory, or a policy that asks for no version.
    """
    if not config.name or not config.base_path:
        raise InvalidInput("a model of the configuration has no name or no base_path.", "Give both.")
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific" and not policy.specific.versions:
        raise InvalidInput(f"model '{config.name}' is to serve specific versions but names none.")
    return Source(
        name=config.name,
        path=config.base_path,
        latest=0 if kind == "all" else policy.latest.num_versions or 1,
        specific=tuple(policy.specific.versions),
        labels=dict(config.version_labels),
    )
