"""A server with API keys, another origin, small bodies, labels, and models that clients may control."""

from __future__ import annotations

from typing import Any

from tests.transcripts.asked import Http, get, other, post

KEY = "a-key-for-the-transcripts"
ORIGIN = "https://example.org"
ROWS = {"instances": [[0, 1, 2]]}
_PREFLIGHT = {"access_control_request_method": "POST", "access_control_request_headers": "content-type"}


def _known(*asked: Http) -> list[Http]:
    return [one._replace(headers={"authorization": f"Bearer {KEY}", **one.headers}) for one in asked]


def _pages(path: str) -> list[Http]:
    return [
        other("OPTIONS", path, "preflight", origin=ORIGIN, **_PREFLIGHT),
        other("OPTIONS", path, "preflight of a stranger", origin="https://evil.example", **_PREFLIGHT),
        other("OPTIONS", path, "preflight of PUT", origin=ORIGIN, access_control_request_method="PUT"),
        other("OPTIONS", path, "preflight of a header", origin=ORIGIN, access_control_request_method="POST",
              access_control_request_headers="x-other"),
    ]  # fmt: skip


def _refused(path: str, body: Any = None) -> list[Http]:
    def ask(note: str, **headers: str) -> Http:
        return post(path, body, note, **headers) if body else get(path, note, **headers)

    return [
        ask("no key"),
        ask("wrong key", authorization="Bearer nothing"),
        ask("wrong key in X-API-Key", x_api_key="n"),
    ]


REQUESTS = [
    get("/healthz", "no key"),
    get("/readyz", "no key"),
    get("/metrics", "no key"),
    get("/", "no key"),
    get("/nothing", "no key"),
    *_refused("/v1/models/affine:predict", ROWS),
    *_refused("/v2/models/affine"),
    *_refused("/openai/v1/models"),
    *_refused("/api/models"),
    post("/v1/models/affine:predict", ROWS, "key in X-API-Key", x_api_key=KEY),
    get("/v2/models/affine", "key in lower case", authorization=f"bearer {KEY}"),
    get("/v2/models/affine", "key as Basic", authorization=f"Basic {KEY}"),
    get("/api/models", "no key, of our page", origin=ORIGIN),
    *_pages("/v1/models/affine:predict"),
    *_pages("/v2/models/affine/infer"),
    *_pages("/api/models/affine/predict"),
    *_known(
        post("/v1/models/affine:predict", ROWS, "our page", origin=ORIGIN),
        post("/v1/models/affine:predict", ROWS, "a stranger", origin="https://evil.example"),
        get("/readyz", "key"),
        get("/openai/v1/models", "key"),
        # Labels
        *(
            one
            for label in ("stable", "canary", "nothing")
            for one in (
                get(f"/v1/models/digits/labels/{label}"),
                get(f"/v1/models/digits/labels/{label}/metadata"),
                post(f"/v1/models/digits/labels/{label}:predict", {"instances": [[[[1]] * 4] * 4]}),
                post(f"/v1/models/digits/labels/{label}:classify", {"examples": [{"image": [1.0] * 16}]}),
            )
        ),
        get("/v1/models/digits"),
        get("/v1/models/reviews", "not in the list"),
        # Bodies
        *(
            post(path, b" " * (2**20 + 1), "too large")
            for path in (
                *("/v1/models/affine:predict", "/v2/models/affine/infer", "/v2/models/writer/generate"),
                *("/openai/v1/completions", "/api/models/affine/predict", "/api/jobs"),
            )
        ),
        post("/v1/models/affine:predict", b'{"instances": [[0, 1, 2]]}' + b" " * 1000, "small enough"),
        # Control
        get("/v2", "extensions"),
        post("/v2/repository/index", {}),
        post("/v2/repository/index", b"", "no body"),
        post("/v2/repository/index", {"ready": True}, "ready"),
        post("/v2/repository/index", {"ready": 1}, "no truth"),
        post("/v2/repository/index", [], "a list"),
        post("/v2/repository/models/affine/unload", {}),
        get("/v2/models/affine/ready", "unloaded"),
        get("/v2/models/affine", "unloaded"),
        get("/v1/models/affine", "unloaded"),
        post("/v1/models/affine:predict", ROWS, "unloaded"),
        post("/api/models/affine/predict", {"rows": [[0, 1, 2]]}, "unloaded"),
        post("/v2/repository/index", {}, "one is unloaded"),
        post("/v2/repository/models/affine/load", {}),
        get("/v2/models/affine/ready", "loaded again"),
        post("/v2/repository/models/affine/load", {"parameters": {"config": "{}"}}, "configuration"),
        post("/v2/repository/models/nothing/load", {}),
        post("/v2/repository/models/nothing/unload", {}),
        get("/v2/repository/models/affine/load"),
    ),
]
