"""Triton's extensions over gRPC that run no model: model configuration, shared memory, trace and log settings."""

from __future__ import annotations

from bookserve.api import oip_pb2 as pb
from bookserve.api import triton_config_pb2 as config_pb
from serve.engine import Engine
from serve.protocols.oip import switched_off
from serve.protocols.oip.metadata import model_configuration
from serve.protocols.oip.request import find_model
from serve.transport.grpc.service import Method

#: The field of a log setting by the type of its value.
_PARAMETERS = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def methods(engine: Engine) -> dict[str, Method]:
    """The methods by name."""

    async def config(request: config_pb.ModelConfigRequest) -> config_pb.ModelConfigResponse:
        from google.protobuf.json_format import ParseDict

        described = model_configuration(find_model(engine, request.name, request.version))
        return config_pb.ModelConfigResponse(config=ParseDict(described, config_pb.ModelConfig()))

    async def system_status(request: pb.SystemSharedMemoryStatusRequest) -> pb.SystemSharedMemoryStatusResponse:
        switched_off.check_region("system", request.name)
        return pb.SystemSharedMemoryStatusResponse()

    async def system_register(request: pb.SystemSharedMemoryRegisterRequest) -> pb.SystemSharedMemoryRegisterResponse:
        switched_off.refuse_region("system", request.name)
        return pb.SystemSharedMemoryRegisterResponse()  # not reached

    async def system_unregister(_: pb.SystemSharedMemoryUnregisterRequest) -> pb.SystemSharedMemoryUnregisterResponse:
        return pb.SystemSharedMemoryUnregisterResponse()

    async def cuda_status(request: pb.CudaSharedMemoryStatusRequest) -> pb.CudaSharedMemoryStatusResponse:
        switched_off.check_region("cuda", request.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def cuda_register(request: pb.CudaSharedMemoryRegisterRequest) -> pb.CudaSharedMemoryRegisterResponse:
        switched_off.refuse_region("cuda", request.name)
        return pb.CudaSharedMemoryRegisterResponse()  # not reached

    async def cuda_unregister(_: pb.CudaSharedMemoryUnregisterRequest) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def trace(request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        if request.model_name:
            find_model(engine, request.model_name, "")
        # A setting without values is to be left as it is.
        given = {name: list(setting.value) for name, setting in request.settings.items() if setting.value}
        wanted = {name: value if name == "trace_level" else value[0] for name, value in given.items()}
        response = pb.TraceSettingResponse()
        for name, value in switched_off.trace_settings(wanted).items():
            response.settings[name].value.extend([value] if isinstance(value, str) else value)
        return response

    async def logging(request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        choices = {name: setting.WhichOneof("parameter_choice") for name, setting in request.settings.items()}
        wanted = {name: getattr(request.settings[name], choice) for name, choice in choices.items() if choice}
        response = pb.LogSettingsResponse()
        for name, value in switched_off.log_settings(wanted).items():
            setattr(response.settings[name], _PARAMETERS[type(value)], value)
        return response

    return {
        "ModelConfig": Method(config, config_pb.ModelConfigRequest, config_pb.ModelConfigResponse),
        "SystemSharedMemoryStatus": Method(
            system_status, pb.SystemSharedMemoryStatusRequest, pb.SystemSharedMemoryStatusResponse
        ),
        "SystemSharedMemoryRegister": Method(
            system_register, pb.SystemSharedMemoryRegisterRequest, pb.SystemSharedMemoryRegisterResponse
        ),
        "SystemSharedMemoryUnregister": Method(
            system_unregister, pb.SystemSharedMemoryUnregisterRequest, pb.SystemSharedMemoryUnregisterResponse
        ),
        "CudaSharedMemoryStatus": Method(
            cuda_status, pb.CudaSharedMemoryStatusRequest, pb.CudaSharedMemoryStatusResponse
        ),
        "CudaSharedMemoryRegister": Method(
            cuda_register, pb.CudaSharedMemoryRegisterRequest, pb.CudaSharedMemoryRegisterResponse
        ),
        "CudaSharedMemoryUnregister": Method(
            cuda_unregister, pb.CudaSharedMemoryUnregisterRequest, pb.CudaSharedMemoryUnregisterResponse
        ),
        "TraceSetting": Method(trace, pb.TraceSettingRequest, pb.TraceSettingResponse),
        "LogSettings": Method(logging, pb.LogSettingsRequest, pb.LogSettingsResponse),
    }
