"""The OpenAPI description of the Open Inference Protocol and Triton's extensions of it."""

from __future__ import annotations

from serve.protocols.oip.generate import GenerateCall
from serve.protocols.oip.infer_body import LENGTH_HEADER
from serve.protocols.oip.tensors import BF16, DATATYPES
from serve.protocols.openapi import (
    BOOLEAN,
    BYTES,
    COUNT,
    INTEGER,
    MODEL,
    OBJECT,
    STRING,
    ApiDescription,
    ErrorResponses,
    Schema,
    array,
    enum,
    json_body,
    json_response,
    operation,
    parameter,
    parameters,
    record,
    reference,
    response,
    status_descriptions,
    struct_schemas,
)

_CONTROL = "Refused unless the server was started with --model-control."
_LENGTH_OF_JSON = "Bytes of the JSON part, where tensors follow as bytes."


def describe() -> ApiDescription:
    """Every path below ``/v2``."""
    errors = ErrorResponses(
        "V2Error", record("error", error=STRING), status_descriptions(400, 403, 404, 413, 422, 424, 429, 500, 503)
    )
    paths: dict[str, Schema] = {
        "/v2": {
            "get": operation(
                "server",
                "Name, version and extensions of the server",
                {"200": json_response("The server.", reference("V2Server"))},
            )
        },
        "/v2/health/live": {
            "get": operation(
                "live", "Whether the process lives", {"200": json_response("It does.", record("live", live=BOOLEAN))}
            )
        },
        "/v2/health/ready": {"get": operation("ready", "Whether requests are answered", _ready("Yes.", "Not now."))},
        "/v2/models/stats": {
            "get": operation(
                "stats",
                "Statistics of every model",
                {"200": json_response("All models.", reference("V2Statistics"))},
            )
        },
        **_switched_off_paths(errors),
        "/v2/repository/index": {
            "post": operation(
                "index",
                "List the versions on disk or loaded",
                {"200": json_response("All of them.", reference("V2Index"))} | errors(400, 403, 413),
                json_body(record(ready=_or_null(BOOLEAN, "Only versions that are ready.")), {}, required=False),
                description=_CONTROL,
            )
        },
    }
    for verb in ("load", "unload"):
        done = record(f"name {verb}", name=STRING) | {"properties": {"name": STRING, verb: {"const": True}}}
        paths[f"/v2/repository/models/{{model}}/{verb}"] = {
            "parameters": parameters("model"),
            "post": operation(
                verb,
                f"{verb.capitalize()} a model",
                {"200": json_response("Done.", done)} | errors(400, 403, 404, 413, 503),
                json_body(record(parameters=_or_null(OBJECT)), {}, required=False),
                description=_CONTROL,
            ),
        }
    for suffix, path, names in (
        ("", "/v2/models/{model}", ("model",)),
        ("Version", "/v2/models/{model}/versions/{version}", ("model", "v2Version")),
    ):
        paths |= _model_paths(path, suffix, names, errors)
    return ApiDescription(
        tag="Open Inference Protocol",
        description="As Triton and KServe speak it, with the extensions for binary tensors, classification, statistics "
        "and the model repository.",
        paths=paths,
        schemas=errors.schemas | _schemas() | struct_schemas(GenerateCall),
        parameters=MODEL
        | {
            "v2Version": parameter(
                "version", "path", {"type": "string", "pattern": "^[0-9]{1,18}$"}, "Number of a version."
            ),
            "v2Region": parameter("region", "path", STRING, "Name of a region of shared memory."),
            "jsonLength": parameter("Inference-Header-Content-Length", "header", COUNT, _LENGTH_OF_JSON),
        },
        responses=errors.responses,
    )


def _model_paths(path: str, suffix: str, names: tuple[str, ...], errors: ErrorResponses) -> dict[str, Schema]:
    read_errors, lower = errors(400, 404, 503), suffix and f"_{suffix.lower()}"
    generate = errors(404, 413, 422, 424, 429, 500, 503)
    # Parameters may also stand beside the text, under the names of several servers.
    body = json_body(
        {"anyOf": [reference("GenerateCall"), OBJECT]}, {"text_input": "abc", "parameters": {"max_tokens": 20}}
    )
    reply = json_response("The text.", reference("GenerateReply"))
    events = response("The text, piece by piece.", {"text/event-stream": {}})
    numbers = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 1, 2]}]}
    infer = {
        "required": True,
        "description": "JSON; or JSON followed by tensors as bytes, with the header Inference-Header-Content-Length; "
        "or, where that is 0, the bytes of the only input.",
        "content": {
            "application/json": {"schema": reference("InferRequest"), "example": numbers},
            "application/octet-stream": {"schema": BYTES},
        },
    }
    outputs = response(
        "The outputs.",
        {"application/json": reference("InferReply"), "application/octet-stream": BYTES},
        headers={LENGTH_HEADER.title(): {"description": _LENGTH_OF_JSON, "schema": COUNT}},
    )
    calls = {
        "": (
            "get",
            operation(
                f"model{suffix}",
                "Versions and tensors of a model",
                {"200": json_response("The model.", reference("V2Model"))} | read_errors,
            ),
        ),
        "/config": (
            "get",
            operation(
                f"modelConfig{suffix}",
                "A model in the form of Triton's configurations",
                {"200": json_response("The configuration.", OBJECT)} | read_errors,
            ),
        ),
        "/ready": (
            "get",
            operation(
                f"modelReady{suffix}", "Whether a model is ready", _ready("It is.", "It is not.") | errors(400, 404)
            ),
        ),
        "/stats": (
            "get",
            operation(
                f"modelStats{suffix}",
                "Statistics of a model",
                {"200": json_response("The model.", reference("V2Statistics"))} | read_errors,
            ),
        ),
        "/infer": (
            "post",
            operation(
                f"infer{suffix}", "Run a model on tensors", {"200": outputs} | errors(400, 404, 413, 500, 503), infer
            ),
        ),
        "/generate": ("post", operation(f"v2_generate{lower}", "Generate a text", {"200": reply} | generate, body)),
        "/generate_stream": (
            "post",
            operation(
                f"v2_generate_stream{lower}", "Generate a text, sent piece by piece", {"200": events} | generate, body
            ),
        ),
    }
    with_header = {"/infer": (*names, "jsonLength")}
    return {
        path + rest: {"parameters": parameters(*with_header.get(rest, names)), method: call}
        for rest, (method, call) in calls.items()
    }


def _switched_off_paths(errors: ErrorResponses) -> dict[str, Schema]:
    """Triton's shared memory, trace settings and log settings, which this server has switched off."""
    off, model = "Switched off on this server.", parameters("model")
    done = {"200": response("There is none.", {})}
    paths: dict[str, Schema] = {}
    for kind in ("system", "cuda"):
        root = f"/v2/{kind}sharedmemory"
        none = {"200": json_response("No regions.", array(OBJECT))}
        region = {"parameters": parameters("v2Region")}
        name = kind.capitalize()
        paths |= {
            f"{root}/status": {"get": operation(f"shm{name}", f"Regions of {kind} shared memory", none)},
            f"{root}/region/{{region}}/status": region
            | {"get": operation(f"shm{name}Region", "One region", none | errors(404), description=off)},
            f"{root}/region/{{region}}/register": region
            | {"post": operation(f"shm{name}Register", "Register a region", errors(400), description=off)},
            f"{root}/unregister": {"post": operation(f"shm{name}UnregisterAll", "Forget all regions", done)},
            f"{root}/region/{{region}}/unregister": region
            | {"post": operation(f"shm{name}Unregister", "Forget a region", done)},
        }
    settings: list[tuple[str, str, str, Schema]] = [("Logging", "/v2/logging", "Log settings", {})]
    for end, suffix in (("", ""), ("/setting", "Setting")):
        settings += [
            (f"Trace{suffix}", f"/v2/trace{end}", "Trace settings", {}),
            (f"ModelTrace{suffix}", f"/v2/models/{{model}}/trace{end}", "Trace settings", {"parameters": model}),
        ]
    for identity, path, what, named in settings:
        answer = {"200": json_response(f"{what}.", OBJECT)} | errors(400, 404, 413, 503)
        paths[path] = named | {
            "get": operation(f"get{identity}", f"{what} of a server that has them switched off", answer),
            "post": operation(
                f"set{identity}",
                f"{what}: nothing can be switched on",
                answer,
                json_body(OBJECT, {}, required=False),
                description=off,
            ),
        }
    return paths


def _or_null(schema: Schema, description: str = "") -> Schema:
    """Null means absent."""
    return {"anyOf": [schema, {"type": "null"}]} | ({"description": description} if description else {})


def _ready(yes: str, no: str) -> dict[str, Schema]:
    schema = record("ready", name=STRING, ready=BOOLEAN)
    return {"200": json_response(yes, schema), "503": json_response(no, schema)}


def _schemas() -> dict[str, Schema]:
    tensor = record(
        "name datatype shape", name=STRING, datatype=reference("Datatype"), shape=array(INTEGER | {"minimum": -1})
    )
    duration = record("count ns", count=COUNT, ns=COUNT)
    request_parameters = _or_null(reference("Parameters"))
    requested = array(record("name", name=STRING, parameters=request_parameters))
    batch = record(
        "batch_size", batch_size=COUNT, compute_input=duration, compute_infer=duration, compute_output=duration
    )
    statistics = record(
        "name version last_inference inference_count execution_count inference_stats batch_stats",
        name=STRING,
        version=STRING,
        last_inference=COUNT,
        inference_count=COUNT,
        execution_count=COUNT,
        inference_stats=OBJECT | {"additionalProperties": duration},
        batch_stats=array(batch),
    )
    output = record(
        "name shape datatype",
        name=STRING,
        shape=array(COUNT),
        datatype=reference("Datatype"),
        data=array(),
        parameters=reference("Parameters"),
    )
    state = enum("READY", "LOADING", "UNLOADING", "UNAVAILABLE")
    return {
        "Datatype": enum(*DATATYPES.values()),
        "V2Server": record("name version extensions", name=STRING, version=STRING, extensions=array(STRING)),
        "V2Model": record(
            "name versions platform inputs outputs",
            name=STRING,
            versions=array(STRING),
            platform=STRING,
            inputs=array(tensor),
            outputs=array(tensor),
        ),
        "InferRequest": record(
            "inputs",
            id=_or_null(STRING),
            parameters=request_parameters,
            inputs=array(reference("InferInput")),
            outputs=_or_null(requested),
        ),
        "InferInput": record(
            "name shape datatype",
            name=STRING,
            shape={"anyOf": [array(INTEGER), INTEGER]},
            datatype=enum(*DATATYPES.values(), BF16),
            data={"description": "Flat or nested, row by row."},
            parameters=request_parameters,
        ),
        "InferReply": record(
            "model_name model_version outputs",
            model_name=STRING,
            model_version=STRING,
            id=STRING,
            outputs=array(output),
        ),
        "Parameters": OBJECT
        | {
            "description": "`signature_name` and `binary_data_output` of a request, `binary_data_size` of an input, "
            "`binary_data` and `classification` of an output."
        },
        "V2Statistics": record("model_stats", model_stats=array(statistics)),
        "V2Index": array(record("name version state reason", name=STRING, version=STRING, state=state, reason=STRING)),
        "GenerateReply": record(
            "model_name model_version text_output",
            model_name=STRING,
            model_version=STRING,
            text_output=STRING,
            id=STRING,
            details=OBJECT,
        ),
    }
