"""The OpenAPI description of TensorFlow Serving's REST API."""

from __future__ import annotations

from serve.protocols.openapi import (
    MODEL,
    NUMBER,
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
    status_descriptions,
)

_STATES = ("UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END")
_BODY = "The content type is ignored; gzip and deflate are accepted."


def describe() -> ApiDescription:
    """Every path below ``/v1``: each call for the default version, for a version number and for a label."""
    errors = ErrorResponses(
        "Sentence", record("error", error=STRING), status_descriptions(400, 403, 404, 413, 422, 424, 429, 500, 501, 503)
    )
    paths: dict[str, Schema] = {}
    for suffix, path, names in (
        ("", "/v1/models/{model}", parameters("model")),
        ("Version", "/v1/models/{model}/versions/{version}", parameters("model", "versionNumber")),
        ("Label", "/v1/models/{model}/labels/{label}", parameters("model", "label")),
    ):
        run_errors = errors(400, 404, 413, 429, 500, 501, 503)
        read_errors = errors(400, 404, 503)
        calls = {
            f"{path}:predict": (
                "post",
                operation(
                    f"predict{suffix}",
                    "Run a model on tensors",
                    {"200": json_response("The answer, in the form of the request.", reference("PredictReply"))}
                    | run_errors,
                    json_body(reference("PredictRequest"), {"instances": [[0, 1, 2]]}, description=_BODY),
                ),
            ),
            f"{path}:classify": (
                "post",
                operation(
                    f"classify{suffix}",
                    "Classes with scores, for tf.Example records",
                    {"200": json_response("One result for each record.", reference("ClassifyReply"))} | run_errors,
                    json_body(reference("RecordsRequest"), {"examples": [{"x": [0.0, 1.0, 2.0]}]}, description=_BODY),
                ),
            ),
            f"{path}:regress": (
                "post",
                operation(
                    f"regress{suffix}",
                    "One number for each tf.Example record",
                    {"200": json_response("One number for each record.", reference("RegressReply"))} | run_errors,
                    json_body(reference("RecordsRequest"), {"examples": [{"x": [0.0, 1.0, 2.0]}]}, description=_BODY),
                ),
            ),
            path: (
                "get",
                operation(
                    f"status{suffix}",
                    "States of a model's versions",
                    {"200": json_response("All versions, or the one asked for.", reference("Status"))} | read_errors,
                ),
            ),
            f"{path}/metadata": (
                "get",
                operation(
                    f"metadata{suffix}",
                    "Signatures of a model",
                    {"200": json_response("Every graph as a SignatureDef.", reference("Metadata"))} | read_errors,
                ),
            ),
        }
        paths |= {where: {"parameters": names, method: call} for where, (method, call) in calls.items()}
    return ApiDescription(
        tag="TensorFlow Serving",
        description="As https://www.tensorflow.org/tfx/serving/api_rest describes it.",
        paths=paths,
        schemas=errors.schemas | _schemas(),
        parameters=MODEL
        | {
            "versionNumber": parameter("version", "path", {"type": "integer", "minimum": 1}, "Number of a version."),
            "label": parameter("label", "path", {"type": "string", "minLength": 1}, "Label of a version."),
        },
        responses=errors.responses,
    )


def _schemas() -> dict[str, Schema]:
    state = record(
        "version state status",
        version={"type": "string", "pattern": "^[0-9]+$"},
        state=enum(*_STATES),
        status=record("error_code error_message", error_code=STRING, error_message=STRING),
    )
    score = array({"type": ["string", "number"]}, minItems=2, maxItems=2)
    return {
        "PredictRequest": record(
            signature_name={"type": "string", "description": "Name of the graph; the default graph if absent."},
            instances=array({}, minItems=1),
            inputs={},
        )
        | {
            "description": "`instances` (rows) or `inputs` (columns), never both. NaN and Infinity may stand as bare "
            'words; bytes are {"b64": "…"}.',
            "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
        },
        "PredictReply": record(predictions=array(), outputs={})
        | {"oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}]},
        "RecordsRequest": record(
            "examples",
            signature_name=STRING,
            context=reference("Record"),
            examples=array(reference("Record"), minItems=1),
        ),
        "Record": OBJECT | {"description": "Features by input name: a value or a flat list of one kind."},
        "ClassifyReply": record("results", results=array(array(score))),
        "RegressReply": record("results", results=array(NUMBER)),
        "Status": record("model_version_status", model_version_status=array(state, minItems=1)),
        "Metadata": record(
            "model_spec metadata",
            model_spec=record("name signature_name version", name=STRING, signature_name=STRING, version=STRING),
            metadata=record("signature_def", signature_def=record("signature_def", signature_def=OBJECT)),
        ),
    }
