"""gRPC: TensorFlow Serving's services, the Open Inference Protocol, bookserve's own, health and reflection."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tests.transcripts.asked import BRIGHT, LEFT, PHOTO, Rpc
from tests.transcripts.http_guarded import KEY

PREDICTION, MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
OIP, HOME, PICTURES = "inference.GRPCInferenceService", "bookserve.v1.Bookserve", "bookserve.v1.Pictures"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _call(service: str, method: str, note: str, *messages: Any, **metadata: str) -> Rpc:
    return Rpc(f"{service}/{method}: {note}", f"{service}/{method}", list(messages), metadata)


# TensorFlow Serving


def _spec(name: str, version: int | None = None, label: str = "", signature: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = {"name": name, "signature_name": signature}
    return spec | ({"version": version} if version else {"version_label": label} if label else {})


def _tensor(kind: str, shape: list[int], **values: Any) -> dict[str, Any]:
    return {"dtype": kind, "tensor_shape": {"dim": [{"size": size} for size in shape]}, **values}


X = _tensor("DT_FLOAT", [1, 3], float_val=[0, 1, 2])
IMAGE = _tensor("DT_FLOAT", [1, 4, 4, 1], float_val=[1.0] * 16)


def _predict(note: str, model: Any, inputs: Any, **more: Any) -> Rpc:
    return _call(PREDICTION, "Predict", note, {"model_spec": model, "inputs": inputs, **more})


def _records(*given: dict[str, list[Any]]) -> dict[str, Any]:
    return {"example_list": {"examples": [_record(one) for one in given]}}


def _record(given: dict[str, list[Any]]) -> dict[str, Any]:
    def feature(values: list[Any]) -> dict[str, Any]:
        kinds: dict[type, str] = {int: "int64_list", float: "float_list", str: "bytes_list"}
        return {kinds[type(values[0])] if values else "float_list": {"value": values}}

    return {"features": {"feature": {name: feature(values) for name, values in given.items()}}}


def _judge(verb: str, note: str, model: Any, given: Any) -> Rpc:
    return _call(PREDICTION, verb, note, {"model_spec": model, "input": given})


def _tasks(note: str, given: Any, *tasks: tuple[Any, str]) -> Rpc:
    asked = [{"model_spec": model, "method_name": f"tensorflow/serving/{method}"} for model, method in tasks]
    return _call(PREDICTION, "MultiInference", note, {"tasks": asked, "input": given})


def _metadata(note: str, model: Any, *fields: str) -> Rpc:
    return _call(PREDICTION, "GetModelMetadata", note, {"model_spec": model, "metadata_field": list(fields)})


def _status(note: str, model: Any) -> Rpc:
    return _call(MODEL, "GetModelStatus", note, {"model_spec": model})


TOKENS = {"tokens": [4, 4, 1, 1, 1, 1]}
HOUSE = {"features": [0.1 * index - 0.5 for index in range(13)]}
FEATURES = {"features": [0.25 * index - 2 for index in range(16)]}
TFS = [
    _predict("row", _spec("affine"), {"x": X}),
    _predict("version", _spec("affine", 1), {"x": X}),
    _predict(
        "content",
        _spec("affine"),
        {"x": _tensor("DT_FLOAT", [1, 3], tensor_content=_b64(np.arange(3.0, dtype=np.float32).tobytes()))},
    ),
    _predict("one value for all", _spec("affine"), {"x": _tensor("DT_FLOAT", [2, 3], float_val=[2])}),
    _predict("signature", _spec("affine", signature="serving_default"), {"x": X}),
    _predict(
        "two inputs",
        _spec("pair"),
        {"a": _tensor("DT_FLOAT", [2, 2], float_val=[1, 2, 3, 4]), "b": _tensor("DT_INT64", [2], int64_val=[5, -7])},
    ),
    _predict(
        "filter",
        _spec("pair"),
        {"a": _tensor("DT_FLOAT", [1, 2], float_val=[1, 2]), "b": _tensor("DT_INT64", [1], int64_val=[5])},
        output_filter=["next"],
    ),
    _predict("image", _spec("digits"), {"image": IMAGE}),
    _predict("composite", _spec("vote"), {"image": IMAGE}),
    _predict("chain", _spec("twice"), {"x": X}),
    _predict("encode", _spec("plane", signature="encode"), {"image": IMAGE}),
    _predict("window", _spec("writer"), {"characters": _tensor("DT_INT32", [1, 3], int_val=[0, 1, 2])}),
    _predict(
        "step",
        _spec("writer", signature="step"),
        {
            "characters": _tensor("DT_INT32", [1, 2], int_val=[0, 1]),
            "count": _tensor("DT_FLOAT", [1, 1], float_val=[3]),
        },
    ),
    _predict(
        "features",
        _spec("template_dense_multiclass"),
        {"features": _tensor("DT_FLOAT", [1, 16], float_val=FEATURES["features"])},
    ),
    _predict("unknown model", _spec("nothing"), {"x": X}),
    _predict("no model", {}, {"x": X}),
    _predict("unknown version", _spec("affine", 9), {"x": X}),
    _predict("unknown label", _spec("affine", label="stable"), {"x": X}),
    _predict("unknown signature", _spec("affine", signature="nothing"), {"x": X}),
    _predict("unknown input", _spec("affine"), {"z": X}),
    _predict("no input", _spec("affine"), {}),
    _predict("unknown output", _spec("affine"), {"x": X}, output_filter=["z"]),
    _predict("wrong type", _spec("affine"), {"x": _tensor("DT_INT32", [1, 3], int_val=[0, 1, 2])}),
    _predict("wrong shape", _spec("affine"), {"x": _tensor("DT_FLOAT", [1, 4], float_val=[0, 1, 2, 3])}),
    _predict("fewer numbers", _spec("affine"), {"x": _tensor("DT_FLOAT", [1, 3], tensor_content=_b64(b"1234"))}),
    _predict("no rows", _spec("affine"), {"x": _tensor("DT_FLOAT", [0, 3])}),
    _predict("negative shape", _spec("affine"), {"x": _tensor("DT_FLOAT", [-1, 3], float_val=[0, 1, 2])}),
    _call(PREDICTION, "Predict", "no message", b"\xff\xff\xff"),
    _judge("Classify", "images", _spec("digits"), _records({"image": [0.0] * 16}, {"image": [1.0] * 16})),
    _judge("Classify", "one of two", _spec("reviews"), _records(TOKENS)),
    _judge("Classify", "no labels", _spec("affine"), _records({"x": [0.0, 1.0, 2.0]})),
    _judge(
        "Classify", "signature classify", _spec("template_dense_multiclass", signature="classify"), _records(FEATURES)
    ),
    _judge("Classify", "ten classes", _spec("template_dense_multiclass"), _records(FEATURES)),
    _judge("Classify", "pictures", _spec("plane"), _records({"latent": [0.0, 1.0]})),
    _judge("Classify", "unknown model", _spec("nothing"), _records(TOKENS)),
    _judge("Classify", "unknown signature", _spec("digits", signature="nothing"), _records({"image": [0.0] * 16})),
    _judge("Classify", "no records", _spec("digits"), {}),
    _judge("Classify", "no feature", _spec("digits"), _records({})),
    _judge("Classify", "texts", _spec("digits"), _records({"image": ["AAAA"]})),
    _judge("Regress", "share", _spec("reviews"), _records(TOKENS, {"tokens": [4] * 6})),
    _judge(
        "Regress",
        "context",
        _spec("reviews"),
        {"example_list_with_context": {"examples": [{}, _record({"tokens": [1] * 6})], "context": _record(TOKENS)}},
    ),
    _judge("Regress", "signature regress", _spec("boston_housing", signature="regress"), _records(HOUSE)),
    _judge("Regress", "three numbers", _spec("affine"), _records({"x": [0.0, 1.0, 2.0]})),
    _judge("Regress", "two inputs", _spec("pair"), _records({"a": [0.0], "b": [1]})),
    _tasks("both", _records(TOKENS), (_spec("reviews"), "classify"), (_spec("reviews"), "regress")),
    _tasks("none", _records(TOKENS)),
    _tasks("unknown method", _records(TOKENS), (_spec("reviews"), "predict")),
    _tasks("two models", _records(TOKENS), (_spec("reviews"), "classify"), (_spec("affine"), "classify")),
    _tasks("unknown model", _records(TOKENS), (_spec("nothing"), "classify")),
    *(
        _metadata(name, _spec(name), "signature_def")
        for name in ("affine", "pair", "digits", "writer", "plane", "vote", "boston_housing", "nothing")
    ),
    _metadata("version", _spec("digits", 2), "signature_def"),
    _metadata("no field", _spec("affine")),
    _metadata("unknown field", _spec("affine"), "nothing"),
    _status("affine", _spec("affine")),
    _status("digits", _spec("digits")),
    _status("version", _spec("affine", 1)),
    _status("unknown version", _spec("affine", 9)),
    _status("unknown model", _spec("nothing")),
    _status("no model", {}),
    _call(MODEL, "HandleReloadConfigRequest", "not allowed", {}),
    _call(PREDICTION, "Nothing", "unknown method", b""),
    _call("tensorflow.serving.SessionService", "SessionRun", "unknown service", b""),
]

# The Open Inference Protocol

RAW = np.array([[0, 1, 2]], np.float32).tobytes()
FP32 = {"name": "x", "datatype": "FP32", "shape": [1, 3]}
FILLED = FP32 | {"contents": {"fp32_contents": [0, 1, 2]}}


def _asked(model: str, *inputs: Any, version: str = "", **more: Any) -> dict[str, Any]:
    return {"model_name": model, "model_version": version, "inputs": list(inputs), **more}


def _infer(note: str, model: str, *inputs: Any, **more: Any) -> Rpc:
    return _call(OIP, "ModelInfer", note, _asked(model, *inputs, **more))


A = {"name": "a", "datatype": "FP32", "shape": [2, 2], "contents": {"fp32_contents": [1, 2, 3, 4]}}
B = {"name": "b", "datatype": "INT64", "shape": [2], "contents": {"int64_contents": [5, -7]}}
PICTURE = {"name": "image", "datatype": "FP32", "shape": [1, 4, 4, 1], "contents": {"fp32_contents": [1.0] * 16}}
V2 = [
    _call(OIP, "ServerLive", "", {}),
    _call(OIP, "ServerReady", "", {}),
    _call(OIP, "ServerMetadata", "", {}),
    *(
        _call(OIP, method, f"{name} {version}", {"name": name, "version": version})
        for method in ("ModelReady", "ModelMetadata")
        for name, version in [
            ("affine", ""),
            ("affine", "1"),
            ("affine", "9"),
            ("affine", "x"),
            ("nothing", ""),
            ("", ""),
        ]
    ),
    *(_call(OIP, "ModelMetadata", name, {"name": name}) for name in ("pair", "plane", "writer", "vote")),
    _infer("contents", "affine", FILLED),
    _infer("bytes", "affine", FP32, raw_input_contents=[_b64(RAW)]),
    _infer("version and id", "affine", FILLED, version="1", id="seven"),
    _infer("output by name", "affine", FILLED, outputs=[{"name": "y"}]),
    _infer("two inputs", "pair", A, B),
    _infer("one output", "pair", B, A, outputs=[{"name": "next"}]),
    _infer("image", "digits", PICTURE),
    _infer("composite", "vote", PICTURE),
    _infer("encode", "plane", PICTURE, parameters={"signature_name": {"string_param": "encode"}}),
    _infer(
        "classes",
        "digits",
        PICTURE,
        outputs=[{"name": "probabilities", "parameters": {"classification": {"int64_param": 2}}}],
    ),
    _infer("unknown model", "nothing", FILLED),
    _infer("unknown version", "affine", FILLED, version="9"),
    _infer("version is no number", "affine", FILLED, version="x"),
    _infer("no inputs", "affine"),
    _infer("unknown input", "affine", FILLED | {"name": "z"}),
    _infer("unknown output", "affine", FILLED, outputs=[{"name": "z"}]),
    _infer("wrong type", "affine", FILLED | {"datatype": "INT32"}),
    _infer("wrong contents", "affine", FP32 | {"contents": {"int_contents": [0, 1, 2]}}),
    _infer("wrong shape", "affine", FILLED | {"shape": [1, 4]}),
    _infer("no rows", "affine", FP32 | {"shape": [0, 3]}),
    _infer("too few bytes", "affine", FP32, raw_input_contents=[_b64(RAW[:-1])]),
    _infer("bytes and contents", "affine", FILLED, raw_input_contents=[_b64(RAW)]),
    _infer("one is missing", "pair", A),
    _infer("shared memory", "affine", FP32 | {"parameters": {"shared_memory_region": {"string_param": "r"}}}),
    _infer("unknown signature", "affine", FILLED, parameters={"signature_name": {"string_param": "nothing"}}),
    _infer(
        "no classes", "affine", FILLED, outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 0}}}]
    ),
    _call(OIP, "ModelInfer", "no message", b"\xff\xff\xff"),
    _call(
        OIP,
        "ModelStreamInfer",
        "three",
        _asked("affine", FILLED, id="1"),
        _asked("nothing", FILLED, id="2"),
        _asked("affine", FILLED, id="3"),
    ),
    _call(OIP, "ModelStreamInfer", "two models", _asked("pair", A, B), _asked("digits", PICTURE)),
    _call(OIP, "ModelStreamInfer", "none"),
    _call(OIP, "RepositoryIndex", "not allowed", {}),
    _call(OIP, "RepositoryModelLoad", "not allowed", {"model_name": "affine"}),
    _call(OIP, "RepositoryModelUnload", "not allowed", {"model_name": "affine"}),
    _call(OIP, "ModelStatistics", "unknown model", {"name": "nothing"}),
    _call(OIP, "ModelStatistics", "unknown version", {"name": "affine", "version": "9"}),
    _call(OIP, "NoSuchMethod", "unknown method", b""),
    _call(OIP, "ModelStatistics", "one", {"name": "pair", "version": "1"}),
]

# Our own


def _home(method: str, note: str, model: str, **more: Any) -> Rpc:
    return _call(HOME, method, note, {"model": model, **more})


def _write(note: str, **more: Any) -> Rpc:
    return _home("Generate", note, "writer", prompt="abc", **more)


PIXELS = {"tensor": {"dtype": "uint8", "shape": [4, 4], "content": _b64(bytes(16))}}
THREE = {"tensor": {"dtype": "float32", "shape": [3], "content": _b64(RAW)}}
ONE = {"tensor": {"dtype": "float64", "shape": [], "content": _b64(np.float64(5).tobytes())}}
TWO = {"tensor": {"dtype": "float64", "shape": [2], "content": _b64(np.array([1.0, 2.0]).tobytes())}}
OWN = [
    _call(HOME, "Models", "", {}),
    _home("Predict", "pictures", "digits", rows=[{"data": _b64(BRIGHT)}, PIXELS]),
    _home("Predict", "texts", "reviews", rows=[{"text": "a good good film"}, {"text": "bad"}]),
    _home("Predict", "numbers", "affine", rows=[THREE]),
    _home("Predict", "two inputs", "pair", rows=[{"fields": {"fields": {"a": TWO, "b": ONE}}}]),
    _home("Predict", "version", "affine", version=1, rows=[THREE]),
    _home("Predict", "composite", "vote", rows=[PIXELS]),
    _home("Predict", "unknown model", "nothing", rows=[THREE]),
    _home("Predict", "unknown version", "affine", version=9, rows=[THREE]),
    _home("Predict", "no rows", "affine"),
    _home("Predict", "empty row", "affine", rows=[{}]),
    _home("Predict", "a text for numbers", "affine", rows=[{"text": "a"}]),
    _home("Predict", "wrong shape", "affine", rows=[TWO]),
    _home(
        "Predict",
        "broken tensor",
        "affine",
        rows=[{"tensor": {"dtype": "float32", "shape": [3], "content": _b64(b"1")}}],
    ),
    _home(
        "Predict", "unknown type", "affine", rows=[{"tensor": {"dtype": "float31", "shape": [3], "content": _b64(RAW)}}]
    ),
    _home("Predict", "broken picture", "digits", rows=[{"data": _b64(BRIGHT[:40])}]),
    _home("Predict", "does not predict", "writer", rows=[{"text": "abc"}]),
    _write("greedy", length=8, temperature=0),
    _write("seed", length=60, temperature=1.5, seed=5),
    _write("several", length=9, seed=5, n=3),
    _write("log-probabilities", length=5, seed=5, logprobs=2),
    _write("stop", length=30, temperature=0, stop=["ab"]),
    _write("window", length=20, seed=5, mode="window", top_k=3, top_p=0.9),
    _write("too hot", temperature=11),
    _write("no length", length=0),
    _write("wrong mode", mode="magic"),
    _write("unknown version", version=9),
    _home("Generate", "unknown model", "nothing"),
    _home("Generate", "does not write", "affine"),
    _home("Sample", "random", "plane", n=3, seed=1),
    _home("Sample", "latent", "plane", latent=[{"coordinates": [0.5, -1]}]),
    _home("Sample", "grid", "plane", grid=2),
    _home("Sample", "walk", "plane", n=2, seed=3, walk=3, interpolate="slerp", truncation=0.5),
    _home("Sample", "a part", "plane", n=9, seed=3, start=4, count=2),
    _home("Sample", "encoded", "plane", images=[{"data": _b64(BRIGHT)}]),
    _home("Sample", "wrong dimensions", "plane", latent=[{"coordinates": [0.5]}]),
    _home("Sample", "does not sample", "affine", n=1),
    _call(PICTURES, "Explain", "left", {"model": "corners", "row": {"data": _b64(LEFT)}}),
    _call(PICTURES, "Explain", "label", {"model": "corners", "row": {"data": _b64(LEFT)}, "label": "right"}),
    _call(PICTURES, "Explain", "unknown label", {"model": "corners", "row": {"data": _b64(LEFT)}, "label": "up"}),
    _call(PICTURES, "Explain", "cannot be explained", {"model": "digits", "row": {"data": _b64(BRIGHT)}}),
    _call(PICTURES, "Explain", "no row", {"model": "corners"}),
    _call(PICTURES, "Activations", "left", {"model": "corners", "row": {"data": _b64(LEFT)}}),
    _call(PICTURES, "Filters", "none", {"model": "corners"}),
    _call(PICTURES, "Filters", "unknown model", {"model": "nothing"}),
    _call(PICTURES, "Transform", "dream", {"model": "dreamer", "images": [_b64(PHOTO)], "params": '{"iterations": 2}'}),
    _call(PICTURES, "Transform", "broken parameters", {"model": "dreamer", "images": [_b64(PHOTO)], "params": "{"}),
    _call(PICTURES, "Transform", "one picture", {"model": "painter", "images": [_b64(PHOTO)]}),
    _call(PICTURES, "Transform", "does not transform", {"model": "affine", "images": [_b64(PHOTO)]}),
    _call(HOME, "Nothing", "unknown method", b""),
]

# Around

SERVICES = ("", PREDICTION, MODEL, OIP, HOME, PICTURES)
AROUND = [
    *(_call(HEALTH, "Check", service or "all", {"service": service}) for service in (*SERVICES, "nothing")),
    *(_call(HEALTH, "Watch", service or "all", {"service": service}) for service in ("", OIP, "nothing")),
    Rpc("reflection: list", REFLECTION, [{"list_services": ""}]),
    *(
        Rpc(f"reflection: {name}", REFLECTION, [{"file_containing_symbol": name}])
        for name in (*SERVICES[1:], "nothing")
    ),
    Rpc("reflection: unknown file", REFLECTION, [{"file_by_filename": "nothing.proto"}]),
]

CALLS = [*TFS, *V2, *OWN, *AROUND]

#: Of the server with keys, labels and control.
_KEY = {"authorization": f"Bearer {KEY}"}
_ROW = {"x": X}
GUARDED = [
    *(
        _call(service, method, "no key", message)
        for service, method, message in [
            (PREDICTION, "Predict", {"model_spec": _spec("affine"), "inputs": _ROW}),
            (MODEL, "GetModelStatus", {"model_spec": _spec("affine")}),
            (OIP, "ServerLive", {}),
            (HOME, "Models", {}),
            (HEALTH, "Check", {}),
            (HOME, "Generate", {"model": "writer"}),
        ]
    ),
    _call(HOME, "Models", "wrong key", {}, authorization="Bearer nothing"),
    _call(OIP, "ServerLive", "key in x-api-key", {}, **{"x-api-key": KEY}),
    *(
        one._replace(metadata=_KEY)
        for one in [
            _call(OIP, "ServerReady", "key", {}),
            *(
                _predict(f"label {label}", _spec("digits", label=label), {"image": IMAGE})
                for label in ("stable", "canary", "no")
            ),
            *(_status(f"label {label}", _spec("digits", label=label)) for label in ("stable", "canary", "no")),
            _metadata("label", _spec("digits", label="stable"), "signature_def"),
            _call(OIP, "RepositoryIndex", "all", {}),
            _call(OIP, "RepositoryIndex", "ready", {"ready": True}),
            _call(OIP, "RepositoryModelUnload", "affine", {"model_name": "affine"}),
            _infer("unloaded", "affine", FILLED),
            _predict("unloaded", _spec("affine"), _ROW),
            _status("unloaded", _spec("affine")),
            _call(OIP, "RepositoryIndex", "one is unloaded", {}),
            _call(OIP, "RepositoryModelLoad", "affine", {"model_name": "affine"}),
            _infer("loaded again", "affine", FILLED),
            _call(OIP, "RepositoryModelLoad", "unknown", {"model_name": "nothing"}),
            _call(
                OIP,
                "RepositoryModelLoad",
                "configuration",
                {"model_name": "affine", "parameters": {"config": {"string_param": "{}"}}},
            ),
            _call(OIP, "RepositoryModelUnload", "unknown", {"model_name": "nothing"}),
            _call(OIP, "ModelInfer", "too large", _asked("affine", FP32, raw_input_contents=[_b64(bytes(2**20 + 9))])),
            _call(MODEL, "HandleReloadConfigRequest", "no configuration", {}),
        ]
    ),
]
