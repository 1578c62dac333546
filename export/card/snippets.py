"""Calls: how a model card shows its reader to call the model – command line, curl, Python and R.

Every snippet runs as it stands, in the bundle's directory and beside a server; the tests do it. ``picture.png`` stands
for a picture of the reader's.
"""

from __future__ import annotations

import json
import shlex
from typing import Any, NamedTuple

import numpy as np

from bookserve.bundle import Manifest
from bookserve.bundle.examples import Example, Examples
from bookserve.graph import Arrays
from bookserve.steps import Image
from bookserve.verb import Generate, Predict, Sample, verb_name

#: A row of more numbers than this is not spelt out.
FEW = 64

_V2 = {"bool": "BOOL", "string": "BYTES", "float16": "FP16", "float32": "FP32", "float64": "FP64"}

_URL = "http://127.0.0.1:8501"
_PICTURE = '{"b64": "%s"}'


class _Call(NamedTuple):
    """One call: arguments of ``bookserve`` ('' where a shell cannot say them), curl's command, Python, and R's body."""

    command: str
    curl: str
    python: str
    r: str


class _Part(NamedTuple):
    """What goes into one input, spelt in four ways; ``json`` is None where only a program can write it."""

    json: Any
    shell: str
    python: str
    r: str


def code_snippets(manifest: Manifest, examples: Examples) -> str:
    """The section of the card, as Markdown."""
    parts = [
        "## Calls",
        "With a server (`bookserve serve models`) on this machine. What reads `examples.npz` is run in this directory.",
    ]
    call = _call(manifest, examples)
    if call:
        parts += [_people(manifest, call)]
    example = examples.graphs.get(manifest.default)
    if example is not None:
        parts += [
            "Tensors, after the Steps, over TensorFlow Serving's REST API and the Open Inference Protocol (Triton):",
            f"```sh\n{bodies(manifest, example, _URL)}\n```",
        ]
    return "\n\n".join(parts)


def _people(manifest: Manifest, call: _Call) -> str:
    name, verb = manifest.name, verb_name(manifest.verb)
    url = f"{_URL}/api/models/{name}/{verb}"
    command = f"bookserve {call.command} --url {_URL}\n" if call.command else ""
    return f"""Rows in, answers out; the same calls take `grpc://127.0.0.1:8500` and, without a server, `local:models`:

```sh
{command}{call.curl.replace("URL", url, 1)}
```

```python
{"import numpy" + chr(10) if "numpy." in call.python else ""}from clients import connect

with connect("{_URL}") as models:
    {call.python}
```

```r
library(httr2)
request("{url}") |>
  req_body_json({call.r}) |>
  req_perform() |>
  resp_body_json()
```"""


def _call(manifest: Manifest, examples: Examples) -> _Call | None:
    """None where the model takes no rows."""
    name, verb = manifest.name, manifest.verb
    if isinstance(verb, Generate):
        body = {"prompt": verb.prompt[:40], "length": 200, "temperature": 0.5, "seed": 1}
        options = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in body.items())
        arguments = ", ".join(f"{key}={value!r}" for key, value in body.items())
        python = f'print("".join(models.generate("{name}", {arguments})))'
        return _Call(f"generate {name} {options}", curl("URL", body), python, _r(body))
    if isinstance(verb, Sample):
        body = {"n": 16, "seed": 1}
        python = f'pictures = models.sample("{name}", n=16, seed=1).images'
        return _Call(f"sample {name} -n 16 --seed 1 -o pictures.png", curl("URL", body), python, _r(body))
    if isinstance(verb, Predict) and manifest.graphs[manifest.default].batched and manifest.default in examples.graphs:
        return _predict(manifest, verb, examples)
    return None


def _predict(manifest: Manifest, verb: Predict, examples: Examples) -> _Call:
    parts = {name: _part(manifest, verb, examples, name) for name in verb.inputs}
    single = next(iter(parts.values())) if len(parts) == 1 else None
    python = single.python if single else f"{{{', '.join(f'{n!r}: {part.python}' for n, part in parts.items())}}}"
    r = single.r if single else f"list({', '.join(f'{_r_name(n)} = {part.r}' for n, part in parts.items())})"
    python, r = f'print(models.predict("{manifest.name}", [{python}]))', f"list(rows = list({r}))"
    if all(part.json is not None for part in parts.values()):
        row = single.json if single else {name: part.json for name, part in parts.items()}
        shown = shlex.quote(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False))
        return _Call(f"predict {manifest.name} {shown}", curl("URL", {"rows": [row]}), python, r)
    if any(part.shell for part in parts.values()):
        command = f"predict {manifest.name} picture.png" if single else ""
        row = _PICTURE if single else f"{{{', '.join(f'{json.dumps(n)}: {_PICTURE}' for n in parts)}}}"
        files = " ".join('"$(base64 -w0 picture.png)"' for _ in parts)
        return _Call(command, f"printf '{{\"rows\": [{row}]}}' {files} | curl URL -d @-", python, r)
    row = (
        f"{single.python}.tolist()"
        if single
        else f"{{{', '.join(f'{json.dumps(n)}: {part.python}.tolist()' for n, part in parts.items())}}}"
    )
    return _Call("", piped("URL", "", f'{{"rows": [{row}]}}'), python, r)


def _part(manifest: Manifest, verb: Predict, examples: Examples, name: str) -> _Part:
    steps = verb.inputs[name]
    if steps and isinstance(steps[0], Image):
        read = 'openssl::base64_encode(readBin("picture.png", "raw", 1e7))'
        return _Part(None, "picture", 'open("picture.png", "rb").read()', f"list(b64 = {read})")
    if len(verb.inputs) == 1 and len(examples.rows):
        key, row = "rows", examples.rows[0, ...]
        if row.dtype.kind == "U":
            text = " ".join(str(row).split()[:12])
            return _Part(text, "", repr(text), _r(text))
    else:
        # Without raw rows: the tensor that goes in, which Numbers takes and Words takes as ids.
        key, row = f"{manifest.default}/inputs/{name}", examples.graphs[manifest.default].inputs[name][0, ...]
    if is_short({name: row}):
        plain = plain_of(row)
        return _Part(plain, "", repr(plain), _r(plain))
    shape = ", ".join(map(str, row.shape))
    return _Part(None, "", f'numpy.load("examples.npz")["{key}"][0]', f"array(0, dim = c({shape}))")


def _r(value: Any) -> str:
    """A JSON value as the R expression that httr2 turns back into it."""
    if isinstance(value, dict):
        return f"list({', '.join(f'{_r_name(key)} = {_r(item)}' for key, item in value.items())})"
    if isinstance(value, list):
        return f"list({', '.join(map(_r, value))})"
    if isinstance(value, bool):
        return str(value).upper()
    return json.dumps(value, ensure_ascii=False)


def _r_name(name: str) -> str:
    return name if name.isidentifier() else f"`{name}`"


def bodies(manifest: Manifest, example: Example, url: str) -> str:
    """Two shell commands that run the default graph on the first row of its example."""
    graph = manifest.graphs[manifest.default]
    rows = 1 if graph.batched else None
    given = {name: array[:rows] for name, array in example.inputs.items()}
    kinds = {name: _V2.get(spec.dtype, spec.dtype.upper()) for name, spec in graph.inputs.items()}
    tfs, v2 = f"{url}/v1/models/{manifest.name}:predict", f"{url}/v2/models/{manifest.name}/infer"
    columns = len(given) > 1 or not graph.batched
    if is_short(given):
        plain = {name: plain_of(array) for name, array in given.items()}
        body = {"inputs": plain} if columns else {"instances": next(iter(plain.values()))}
        tensors = [
            {"name": name, "shape": list(array.shape), "datatype": kinds[name], "data": plain_of(array.ravel())}
            for name, array in given.items()
        ]
        return f"{curl(tfs, body)}\n{curl(v2, {'inputs': tensors})}"
    cut = "[:1]" if rows else ""
    names = json.dumps(list(given))
    load = f'given = numpy.load("examples.npz")\nkey, cut = "{manifest.default}/inputs/", numpy.s_{cut or "[...]"}\n'
    if columns:
        body_of = f'{{"inputs": {{name: given[key + name][cut].tolist() for name in {names}}}}}'
    else:
        body_of = f'{{"instances": given[key + {json.dumps(next(iter(given)))}][cut].tolist()}}'
    load_v2 = (
        load + f"tensors = {{name: given[key + name][cut] for name in {names}}}\nkinds = {json.dumps(kinds)}\n"
        'described = [{"name": name, "shape": array.shape, "datatype": kinds[name], "data": array.ravel().tolist()}\n'
        "             for name, array in tensors.items()]\n"
    )
    return piped(tfs, load, body_of) + "\n" + piped(v2, load_v2, '{"inputs": described}')


def is_short(arrays: Arrays) -> bool:
    """Whether the numbers, or texts, are few enough to be spelt out."""
    return all(array.dtype == object or array.size <= FEW for array in arrays.values())


def plain_of(array: np.ndarray) -> Any:
    """An array as JSON holds it; numbers are rounded, as they are only shown."""
    if array.dtype == object:
        return np.vectorize(lambda item: item.decode(errors="replace"), otypes=[object])(array).tolist()
    return array.astype(np.float64).round(3).tolist() if array.dtype.kind == "f" else array.tolist()


def curl(url: str, body: dict[str, Any]) -> str:
    """The command that sends ``body``."""
    return f"curl {url} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def piped(url: str, preparation: str, body: str) -> str:
    """The command that sends what a program writes: ``preparation`` are its lines, ``body`` the expression."""
    program = f"import json, numpy\n{preparation}print(json.dumps({body}))"
    return f"python -c {shlex.quote(program)} | curl {url} -d @-"
