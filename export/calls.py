"""Calls: how a model card shows its reader to call the model – command line, curl, Python and R."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from bookserve.bundle import Manifest
from bookserve.examples import Example, Examples
from bookserve.steps import Image
from bookserve.verb import Generate, Predict, Sample, Transform, verb_name

_URL = "http://127.0.0.1:8501"
#: A row of more numbers than this is not spelt out.
_FEW = 64


class _Call(NamedTuple):
    """One call: arguments of ``bookserve``, curl's command with ``URL`` in it, a line of Python, the body in R."""

    command: str
    curl: str
    python: str
    r: str


def calls(manifest: Manifest, examples: Examples) -> str:
    """The section of the card, as Markdown."""
    name, verb = manifest.name, verb_name(manifest.verb)
    call = _call(manifest, examples)
    if call is None:
        return f"""## Calls

Its graph has no batch axis, so whole tensors are sent, in the body `{{"inputs": {{…}}}}` with each input by name:

```sh
curl {_URL}/v1/models/{name}:predict -d @inputs.json
```"""
    return f"""## Calls

With a server (`bookserve serve`) on this machine; the same calls take `grpc://127.0.0.1:8500` and `local:models`.

```sh
bookserve {call.command} --url {_URL}
{call.curl.replace("URL", f"{_URL}/api/models/{name}/{verb}", 1)}
```

```python
{"import numpy" + chr(10) if "numpy." in call.python else ""}from clients import connect

with connect("{_URL}") as models:
    {call.python}
```

```r
library(httr2)
request("{_URL}/api/models/{name}/{verb}") |>
  req_body_json({call.r}) |>
  req_perform() |>
  resp_body_json()
```"""


def _call(manifest: Manifest, examples: Examples) -> _Call | None:
    """None where the model takes no rows."""
    name, verb = manifest.name, manifest.verb
    if isinstance(verb, Generate):
        body = {"prompt": verb.prompt[:40], "length": 200, "temperature": 0.5, "seed": 1}
        options = " ".join(f"--{key} {_shell(str(value))}" for key, value in body.items())
        arguments = ", ".join(f"{key}={value!r}" for key, value in body.items())
        python = f'print("".join(models.generate("{name}", {arguments})))'
        return _Call(f"generate {name} {options}", _curl(body), python, _r(body))
    if isinstance(verb, Sample):
        body = {"n": 16, "seed": 1}
        python = f'pictures = models.sample("{name}", n=16, seed=1).images'
        return _Call(f"sample {name} -n 16 --seed 1 -o pictures.png", _curl(body), python, _r(body))
    if isinstance(verb, Transform):
        return None
    steps = next(iter(verb.inputs.values()), ())
    if len(verb.inputs) == 1 and steps and isinstance(steps[0], Image):
        return _Call(
            f"predict {name} picture.png",
            """printf '{"rows": [{"b64": "%s"}]}' "$(base64 -w0 picture.png)" | curl URL -d @-""",
            f'print(models.predict("{name}", [open("picture.png", "rb").read()]))',
            'list(rows = list(list(b64 = openssl::base64_encode(readBin("picture.png", "raw", 1e7)))))',
        )
    example = examples.graphs.get(manifest.default)
    if example is None or not manifest.graphs[manifest.default].batched:
        return None
    row = _row(verb, examples, example)
    if row is None:
        return _Call(
            f"predict {name} rows.npy",
            "curl URL -d @rows.json",
            f'print(models.predict("{name}", numpy.load("rows.npy")))',
            "list(rows = rows)",
        )
    shown = _shell(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False))
    body = {"rows": [row]}
    return _Call(f"predict {name} {shown}", _curl(body), f'print(models.predict("{name}", [{row!r}]))', _r(body))


def _row(verb: Predict, examples: Examples, example: Example) -> Any:
    """A row to show: the beginning of a text, or the example's first where it is small; None where it is not."""
    if len(examples.rows) and examples.rows.dtype.kind == "U":
        return " ".join(str(examples.rows[0]).split()[:12])
    row = {name: _plain(example.inputs[name][0, ...]) for name in verb.inputs}
    if any(example.inputs[name][0, ...].size > _FEW for name in verb.inputs):
        return None
    return row if len(row) != 1 else next(iter(row.values()))


def _plain(array: np.ndarray) -> Any:
    if array.dtype == object:
        return np.vectorize(lambda item: item.decode(errors="replace"), otypes=[object])(array).tolist()
    return array.astype(np.float64).round(3).tolist() if array.dtype.kind == "f" else array.tolist()


def _curl(body: dict[str, Any]) -> str:
    return f"curl URL -d {_shell(json.dumps(body, ensure_ascii=False))}"


def _shell(text: str) -> str:
    plain = text.replace(".", "").isalnum()
    return text if plain else "'" + text.replace("'", "'\\''") + "'"


def _r(value: Any) -> str:
    """A JSON value as the R expression that httr2 turns back into it."""
    if isinstance(value, dict):
        named = (f"{key if key.isidentifier() else f'`{key}`'} = {_r(item)}" for key, item in value.items())
        return f"list({', '.join(named)})"
    if isinstance(value, list):
        return f"list({', '.join(map(_r, value))})"
    if isinstance(value, bool):
        return str(value).upper()
    return json.dumps(value, ensure_ascii=False)
