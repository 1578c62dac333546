"""TensorFlow Serving's model management over gRPC: the service ``tensorflow.serving.ModelService``."""

from __future__ import annotations

from bookserve.api import tfserving_pb2 as pb
from bookserve.errors import InvalidInput
from serve.engine import Engine
from serve.protocols.tfserving import errors
from serve.protocols.tfserving.files import models_config
from serve.protocols.tfserving.servable import has_failed, version_states
from serve.security.access_policy import AccessPolicy
from serve.transport.grpc.service import Method, Service


def service(engine: Engine, policy: AccessPolicy) -> Service:
    """The methods GetModelStatus and HandleReloadConfigRequest."""

    async def get_status(request: pb.GetModelStatusRequest) -> pb.GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise InvalidInput("Missing ModelSpec")
        spec = request.model_spec
        # As in TensorFlow Serving, a label is not looked up here: all versions are listed.
        version = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        return pb.GetModelStatusResponse(
            model_version_status=[
                pb.ModelVersionStatus(
                    version=state.version,
                    state=state.state,
                    status=pb.StatusProto(
                        error_code=errors.UNKNOWN_CODE if has_failed(state) else 0, error_message=state.error
                    ),
                )
                for state in version_states(engine, spec.name, version)
            ]
        )

    async def reload(request: pb.ReloadConfigRequest) -> pb.ReloadConfigResponse:
        policy.check_control()
        await engine.reload(models_config.parse_models_config(request.config))
        return pb.ReloadConfigResponse(status=pb.StatusProto())

    return Service(
        "tensorflow.serving.ModelService",
        {
            "GetModelStatus": Method(get_status, pb.GetModelStatusRequest, pb.GetModelStatusResponse),
            "HandleReloadConfigRequest": Method(reload, pb.ReloadConfigRequest, pb.ReloadConfigResponse),
        },
        errors.call_status,
    )
