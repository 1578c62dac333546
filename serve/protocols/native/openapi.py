"""The OpenAPI description of bookserve's own API."""

from __future__ import annotations

from bookserve.api.requests import ExplainRequest, GenerateRequest, PredictRequest, SampleRequest, TransformRequest
from serve.protocols.openapi import (
    BASE64,
    BOOLEAN,
    BYTES,
    COUNT,
    INTEGER,
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
    response,
    status_descriptions,
    struct_schemas,
)

_CODES = ("not_found", "invalid_input", "not_ready", "overloaded", "failed")
_PNG = {"b64": "iVBORw0KGgo="}
_OTHER_ROWS = (
    "Rows in another form: a bare list, objects by column, columns, or a single row. With another Content-Type the "
    "body may also be a picture, text/csv, text/plain, a line of JSON for each row, or a form with files."
)
_BODIES = (PredictRequest, GenerateRequest, SampleRequest, TransformRequest, ExplainRequest)


def describe() -> ApiDescription:
    """Every path below ``/api``."""
    errors = ErrorResponses(
        "Error",
        record("error", error=record("code message hint", code=enum(*_CODES), message=STRING, hint=STRING)),
        status_descriptions(400, 403, 404, 413, 429, 500, 503),
    )
    # Schema names are shared by all protocols, and two protocols have a PredictRequest: hence the prefix.
    bodies = {f"Api{name}": schema for name, schema in struct_schemas(*_BODIES).items()}
    return ApiDescription(
        tag="bookserve",
        description="Rows and prompts in; labels, texts and pictures out.",
        paths=_model_paths(errors) | _card_paths(errors) | _job_paths(errors),
        schemas=errors.schemas | _schemas() | bodies,
        parameters=MODEL
        | {
            "job": parameter("id", "path", STRING, "Id of a job."),
            "file": parameter("path", "path", STRING, "Path of the file in the bundle, such as README.md."),
        },
        responses=errors.responses,
    )


def _model_paths(errors: ErrorResponses) -> dict[str, Schema]:
    run_errors = errors(400, 404, 413, 429, 500, 503)
    path, names = "/api/models/{model}", parameters("model")

    def post(id: str, summary: str, success: Schema, request: type, example: object) -> Schema:
        schema = reference(f"Api{request.__name__}")
        if request is PredictRequest:
            schema = {"anyOf": [schema, {"description": _OTHER_ROWS}]}
        body = json_body(schema, example)
        return {"parameters": names, "post": operation(id, summary, {"200": success} | run_errors, body)}

    pictures = response(
        "The points and their pictures as PNG; where Accept is image/png one contact sheet, where it is "
        "application/x-npz both as arrays of an NPZ file: latent, float32 [n, d], and images, uint8 [n, height, width, "
        "channels].",
        {"application/json": reference("Pictures"), "image/png": BYTES, "application/x-npz": BYTES},
    )
    heat_map = response(
        "The class, its score, the heat map and the picture under it; where Accept is image/png that picture alone.",
        {"application/json": reference("Explanation"), "image/png": BYTES},
    )
    text = response(
        "The text; as server-sent events where stream is true.",
        {"application/json": reference("Text"), "text/event-stream": {}},
    )
    return {
        "/api/models": {
            "get": operation(
                "models",
                "List all live models",
                {
                    "200": json_response(
                        "The models.",
                        record("models", models=array(reference("Summary")), not_live=array(reference("NotLive"))),
                    )
                },
            )
        },
        path: {
            "parameters": names,
            "get": operation(
                "described",
                "One model, with its verb, graphs and versions",
                {"200": json_response("The model.", reference("Described"))} | errors(404, 503),
            ),
        },
        f"{path}/predict": post(
            "answer",
            "Predict rows: texts, numbers, pictures",
            json_response("An answer for each row.", reference("Answers")),
            PredictRequest,
            {"rows": [[0, 1, 2]]},
        ),
        f"{path}/tensors": post(
            "tensors",
            "The graph's inputs that the Steps make of rows, to send them to other servers",
            json_response("The tensors.", reference("Tensors")),
            PredictRequest,
            {"rows": [[0, 1, 2]]},
        ),
        f"{path}/generate": post("generate", "Generate texts", text, GenerateRequest, {"length": 40}),
        f"{path}/sample": post(
            "sample", "Pictures from points of the latent space", pictures, SampleRequest, {"n": 2, "seed": 1}
        ),
        f"{path}/explain": post(
            "explain", "Which parts of a picture speak for a class (Grad-CAM)", heat_map, ExplainRequest, {"row": _PNG}
        ),
        f"{path}/activations": post(
            "activations",
            "What every layer of a convnet gives for a picture",
            json_response("The layers, with their channels as PNG.", reference("Layers")),
            ExplainRequest,
            {"row": _PNG},
        ),
        f"{path}/filters": {
            "parameters": names,
            "get": operation(
                "filters",
                "The patterns that a convnet's filters respond to",
                {"200": json_response("The convolutions, with their patterns as PNG.", reference("Layers"))}
                | errors(404, 500, 503),
                parameters=[parameter("version", "query", INTEGER)],
            ),
        },
    }


def _card_paths(errors: ErrorResponses) -> dict[str, Schema]:
    path, names, version = "/api/models/{model}", parameters("model"), [parameter("version", "query", INTEGER)]

    def get(id: str, summary: str, success: Schema, more: tuple[int, ...] = ()) -> Schema:
        return operation(id, summary, {"200": success} | errors(400, *more, 404, 500, 503), parameters=version)

    rows = record("model version rows", model=STRING, version=COUNT, rows=array())
    return {
        f"{path}/card": {
            "parameters": names,
            "get": get("card", "What is known of a model", json_response("The card.", reference("Card"))),
        },
        f"{path}/examples": {
            "parameters": names,
            "get": get("examples", "Rows to try a model with", json_response("The rows, as predict takes them.", rows)),
        },
        f"{path}/files/{{path}}": {
            "parameters": parameters("model", "file"),
            "get": get(
                "file",
                "A file of the bundle; weights only where the server was started with --model-control",
                response("The file.", {"application/octet-stream": BYTES}),
                (403,),
            ),
        },
    }


def _job_paths(errors: ErrorResponses) -> dict[str, Schema]:
    job, one = parameters("job"), json_response("The job.", reference("JobReply"))
    all_jobs = record("jobs", jobs=array(reference("Job")))
    start = {"model": "deepdream", "images": [_PNG], "params": {"octaves": 2}}
    return {
        "/api/jobs": {
            "post": operation(
                "startJob",
                "Start a DeepDream or a style transfer",
                {"202": json_response("The job, which is queued.", reference("JobReply"))}
                | errors(400, 404, 413, 429, 500, 503),
                json_body(reference("ApiTransformRequest"), start),
            ),
            "get": operation(
                "jobs",
                "List all jobs",
                {"200": json_response("The jobs, oldest first.", all_jobs)} | errors(500),
            ),
        },
        "/api/jobs/{id}": {
            "parameters": job,
            "get": operation("job", "One job", {"200": one} | errors(404, 500)),
            "delete": operation(
                "cancelJob", "Cancel a job, or forget it once it has ended", {"200": one} | errors(404, 500)
            ),
        },
        "/api/jobs/{id}/events": {
            "parameters": job,
            "get": operation(
                "watchJob",
                "Watch a job: an event whenever it changes",
                {
                    "200": response(
                        "A job in each event; preview is a PNG after each stage, done stands in the last.",
                        {"text/event-stream": {}},
                    )
                }
                | errors(404, 500),
            ),
        },
        "/api/jobs/{id}/result": {
            "parameters": job,
            "get": operation(
                "fetchJob",
                "The picture that a job made",
                {
                    "200": response("The picture.", {"image/png": BYTES}),
                    "409": json_response("The job has not succeeded, or not yet.", reference("Error")),
                }
                | errors(404, 429, 500, 503),
            ),
        },
    }


def _schemas() -> dict[str, Schema]:
    named = {"model": STRING, "version": COUNT}
    noted = named | {"notes": array(reference("Note")) | {"description": "What a reader should know; often absent."}}
    about = {"row": COUNT, "input": STRING, "words": array(STRING)}
    drawn = array(record("text logprob", text=STRING, logprob=NUMBER, top=array()))
    piece = {"text": STRING, "index": COUNT, "finish": enum("length", "stop"), "drawn": drawn}
    summary = {
        "name": STRING,
        "version": COUNT,
        "verb": STRING,
        "summary": STRING,
        "data": STRING,
        "parameters": COUNT,
        "bytes": COUNT,
        "metrics": OBJECT,
        "metric": STRING,
        "section": STRING,
        "state": STRING,
    }
    return {
        "Summary": record("name version verb graphs state", **summary, graphs=array(STRING)),
        "NotLive": record("name version state error", name=STRING, version=COUNT, state=STRING, error=STRING),
        "Described": record(
            "name version verb graphs definition versions state",
            **summary,
            graphs=OBJECT,
            definition=OBJECT,
            versions=array(),
        ),
        "Layer": record(
            "kind",
            kind=STRING,
            detail=STRING,
            weights=array(array(COUNT)),
            parameters=COUNT,
            activation=STRING,
            shape=array(),
        ),
        "Card": record(
            "model version card history layers files labels",
            **named,
            origin={"type": ["object", "null"]},
            licence=STRING,
            created=STRING,
            card=STRING | {"description": "The model card, as Markdown."},
            history=OBJECT | {"description": "Metrics of each epoch of the training, by name."},
            layers=record() | {"additionalProperties": array(reference("Layer"))},
            variants=array(STRING),
            files=array(record("path bytes open", path=STRING, bytes=COUNT, open=BOOLEAN)),
            labels=OBJECT,
        ),
        "Tensors": record(
            "model version graph inputs",
            **named,
            graph=STRING,
            inputs=record()
            | {
                "additionalProperties": record(
                    "dtype shape data", dtype=STRING, shape=array(COUNT), data={"description": "Nested lists."}
                )
            },
        ),
        "Note": record("kind message", kind=enum("sample", "unknown_words", "no_known_words"), message=STRING, **about),
        "Answers": record("model version answers", **noted, answers=array(OBJECT), units=OBJECT),
        "Text": record(
            "model version",
            **noted,
            **piece,
            texts=array(reference("Piece")),
        )
        | {"description": "One text with why it ended, or texts where several were asked for."},
        "Piece": record("text", **piece),
        "Pictures": record("model version latent images", **noted, latent=array(), images=array()),
        "Job": record(
            "id model version state step steps loss created",
            id=STRING,
            model=STRING,
            version=INTEGER,
            state=STRING | enum("queued", "running", "done", "failed", "cancelled"),
            step=INTEGER,
            steps=INTEGER,
            loss={"type": ["number", "null"]},
            created=NUMBER,
            notes=noted["notes"],
            error=record(code=STRING, message=STRING, hint=STRING),
        ),
        "JobReply": record("job", job=reference("Job")),
        "Layers": record(
            "model version layers",
            **noted,
            layers=array(record("name shape picture", name=STRING, shape=array(INTEGER), picture=BASE64)),
        ),
        "Explanation": record(
            "model version label score heatmap overlay",
            **noted,
            label=STRING,
            score=NUMBER,
            heatmap=array(array(NUMBER)),
            overlay=BASE64,
        ),
    }
