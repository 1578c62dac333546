"""The OpenAPI description of the completions API."""

from __future__ import annotations

from serve.protocols.openai.request import Completions
from serve.protocols.openapi import (
    INTEGER,
    MODEL,
    STRING,
    ApiDescription,
    ErrorResponses,
    Schema,
    array,
    enum,
    json_body,
    json_response,
    operation,
    parameters,
    record,
    reference,
    response,
    status_descriptions,
    struct_schemas,
)

#: The base URLs, and what tells the operations of the second one apart.
_BASES = (("/openai", ""), ("", "V1"))


def describe() -> ApiDescription:
    """Every path below ``/openai``."""
    text = {"type": ["string", "null"]}
    errors = ErrorResponses(
        "OpenAIError",
        record("error", error=record("message type param code", message=STRING, type=STRING, param=text, code=text)),
        status_descriptions(400, 404, 413, 429, 500, 503),
    )
    listed = record("object data", object={"const": "list"}, data=array(reference("OpenAIModel")))
    paths: dict[str, Schema] = {
        "/openai/v1/models": {
            "get": operation(
                "openaiModels",
                "List the models that generate text",
                {"200": json_response("All of them.", listed)} | errors(500),
            )
        },
        "/openai/v1/models/{model}": {
            "parameters": parameters("model"),
            "get": operation(
                "openaiModel",
                "One model that generates text",
                {"200": json_response("The model.", reference("OpenAIModel"))} | errors(404, 500, 503),
            ),
        },
        **{
            f"{base}/v1/chat/completions": {
                "post": operation(f"chat{suffix}", "Refused: the models continue a text", errors(404, 500))
            }
            for base, suffix in _BASES
        },
        **{f"{base}/v1/completions": _completions(f"completions{suffix}", errors) for base, suffix in _BASES},
    }
    return ApiDescription(
        tag="OpenAI",
        description="As OpenAI's own client speaks it: completions. A token is a character.",
        paths=paths,
        schemas=errors.schemas | _schemas() | struct_schemas(Completions),
        parameters=MODEL,
        responses=errors.responses,
    )


def _completions(name: str, errors: ErrorResponses) -> Schema:
    return {
        "post": operation(
            name,
            "Generate texts",
            {
                "200": response(
                    "The texts; as server-sent events where stream is true.",
                    {"application/json": reference("Completion"), "text/event-stream": {}},
                )
            }
            | errors(400, 404, 413, 429, 500, 503),
            json_body(reference("Completions"), {"model": "writer", "prompt": "abc", "max_tokens": 20}),
        )
    }


def _schemas() -> dict[str, Schema]:
    choice = record(
        "index text logprobs finish_reason",
        index=INTEGER,
        text=STRING,
        logprobs={"type": ["object", "null"]},
        finish_reason=enum("length", "stop"),
    )
    usage = "prompt_tokens completion_tokens total_tokens"
    return {
        "Completion": record(
            "id object created model choices usage",
            id=STRING,
            object={"const": "text_completion"},
            created=INTEGER,
            model=STRING,
            choices=array(choice),
            usage=record(usage, **dict.fromkeys(usage.split(), INTEGER)),
        ),
        "OpenAIModel": record(
            "id object created owned_by", id=STRING, object={"const": "model"}, created=INTEGER, owned_by=STRING
        ),
    }
