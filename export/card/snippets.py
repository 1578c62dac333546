"""Write the examples of a model card: how to call the model from the command line, curl, Python and R.

Two kinds of requests are shown: rows (what people have: a text, a picture, numbers) for bookserve's own API, and
tensors for TensorFlow Serving's REST API and the Open Inference Protocol. Every snippet can be run as it is, in the
bundle's directory and with a server on this machine; the tests do so. ``picture.png`` stands for a picture of the
reader. A row of few numbers is written out; many numbers are read from ``examples.npz`` by a line of Python.
"""

from __future__ import annotations

import base64
import json
import shlex
from typing import Any, NamedTuple

import numpy as np

from bookserve.bundle import Manifest
from bookserve.bundle.examples import Example, Examples
from bookserve.graph import Arrays
from bookserve.steps import PictureStep
from bookserve.verb import Generate, Predict, Sample, verb_name

#: A row of more numbers than this is not written out.
INLINE_LIMIT = 64

_OIP_DATATYPES = {"bool": "BOOL", "string": "BYTES", "float16": "FP16", "float32": "FP32", "float64": "FP64"}

_URL = "http://127.0.0.1:8501"
_PICTURE = '{"b64": "%s"}'


class _RowCall(NamedTuple):
    """One call in four languages: arguments of ``bookserve``, a curl command, a Python expression, a line of R.

    ``command`` is '' where the command line cannot take such rows.
    """

    command: str
    curl: str
    python: str
    r: str


class _InputSnippet(NamedTuple):
    """The value of one input in four languages; ``json`` is None where only a program can write it."""

    json: Any
    shell: str
    python: str
    r: str


def code_snippets(manifest: Manifest, examples: Examples) -> str:
    """Return the section "How to call it" of the card as Markdown."""
    parts = [
        "## How to call it",
        "Start a server on this machine first: `bookserve serve models`. Examples that read `examples.npz` run in this "
        "directory.",
    ]
    call = _row_call(manifest, examples)
    if call:
        parts += [_row_snippets(manifest, call)]
    example = examples.graphs.get(manifest.default)
    if example is not None:
        parts += [
            "Tensors, to which the Steps were already applied, over TensorFlow Serving's REST API and the Open "
            "Inference Protocol (Triton):",
            f"```sh\n{tensor_requests(manifest, example, _URL)}\n```",
        ]
    return "\n\n".join(parts)


def _row_snippets(manifest: Manifest, call: _RowCall) -> str:
    name, verb = manifest.name, verb_name(manifest.verb)
    url = f"{_URL}/api/models/{name}/{verb}"
    command = f"bookserve {call.command} --url {_URL}\n" if call.command else ""
    return f"""Raw rows. The address can also be `grpc://127.0.0.1:8500` or, without a server, `local:models`:

```sh
{command}{call.curl.replace("URL", url, 1)}
```

```python
{"import numpy" + chr(10) if "numpy." in call.python else ""}from bookserve import connect

with connect("{_URL}") as client:
    {call.python}
```

```r
library(bookserve)
model <- bs_model(bs_connect("{_URL}"), {_r_expression(name)})
{call.r}
```"""


def _row_call(manifest: Manifest, examples: Examples) -> _RowCall | None:
    """Return the example of a call with rows; None where the model takes no rows."""
    name, verb = manifest.name, manifest.verb
    if isinstance(verb, Generate):
        body = {"prompt": verb.prompt[:40], "length": 200, "temperature": 0.5, "seed": 1}
        options = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in body.items())
        arguments = ", ".join(f"{key}={value!r}" for key, value in body.items())
        python = f'print("".join(client.generate("{name}", {arguments})))'
        written = ", ".join(f"{key} = {_r_expression(value)}" for key, value in body.items() if key != "prompt")
        r = f"bs_generate(model, {_r_expression(body['prompt'])}, {written})"
        return _RowCall(f"generate {name} {options}", curl_command("URL", body), python, r)
    if isinstance(verb, Sample):
        body = {"n": 16, "seed": 1}
        python = f'pictures = client.sample("{name}", n=16, seed=1).images'
        r = "plot(bs_sample(model, n = 16, seed = 1))"
        return _RowCall(f"sample {name} -n 16 --seed 1 -o pictures.png", curl_command("URL", body), python, r)
    if isinstance(verb, Predict) and manifest.graphs[manifest.default].batched and manifest.default in examples.graphs:
        return _predict_call(manifest, verb, examples)
    return None


def _predict_call(manifest: Manifest, verb: Predict, examples: Examples) -> _RowCall:
    parts = {name: _input_snippet(manifest, verb, examples, name) for name in verb.inputs}
    single = next(iter(parts.values())) if len(parts) == 1 else None
    python = single.python if single else f"{{{', '.join(f'{n!r}: {part.python}' for n, part in parts.items())}}}"
    r = single.r if single else f"list({', '.join(f'{json.dumps(n)} = list({part.r})' for n, part in parts.items())})"
    python, r = f'print(client.predict("{manifest.name}", [{python}]))', f"predict(model, {r})"
    if all(part.json is not None for part in parts.values()):
        row = single.json if single else {name: part.json for name, part in parts.items()}
        shown = shlex.quote(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False))
        return _RowCall(f"predict {manifest.name} {shown}", curl_command("URL", {"rows": [row]}), python, r)
    if any(part.shell for part in parts.values()):
        command = f"predict {manifest.name} picture.png" if single else ""
        row = _PICTURE if single else f"{{{', '.join(f'{json.dumps(n)}: {_PICTURE}' for n in parts)}}}"
        files = " ".join('"$(base64 -w0 picture.png)"' for _ in parts)
        return _RowCall(command, f"printf '{{\"rows\": [{row}]}}' {files} | curl URL -d @-", python, r)
    row = (
        f"{single.python}.tolist()"
        if single
        else f"{{{', '.join(f'{json.dumps(n)}: {part.python}.tolist()' for n, part in parts.items())}}}"
    )
    return _RowCall("", piped_curl_command("URL", "", f'{{"rows": [{row}]}}'), python, r)


def _input_snippet(manifest: Manifest, verb: Predict, examples: Examples, name: str) -> _InputSnippet:
    steps = verb.inputs[name]
    if steps and isinstance(steps[0], PictureStep):
        return _InputSnippet(None, "picture", 'open("picture.png", "rb").read()', '"picture.png"')
    if len(verb.inputs) == 1 and len(examples.rows):
        key, row = "rows", examples.rows[0, ...]
        if row.dtype.kind == "U":
            text = " ".join(str(row).split()[:12])
            return _InputSnippet(text, "", repr(text), _r_expression(text))
    else:
        # There are no raw rows: use the tensor itself. Numbers accepts it, and Words accepts it as ids.
        key, row = f"{manifest.default}/inputs/{name}", examples.graphs[manifest.default].inputs[name][0, ...]
    if fits_inline({name: row}):
        plain = to_json_value(row)
        return _InputSnippet(plain, "", repr(plain), _r_array(row))
    shape = ", ".join(map(str, row.shape))
    return _InputSnippet(None, "", f'numpy.load("examples.npz")["{key}"][0]', f"array(0, dim = c({shape}))")


def _r_expression(value: Any) -> str:
    """Return a text, number or truth value as R writes it."""
    if isinstance(value, bool):
        return str(value).upper()
    return json.dumps(value, ensure_ascii=False)


def _r_array(array: np.ndarray) -> str:
    """Return the R expression of an array; R counts its first index fastest."""
    values = to_json_value(array.ravel(order="F"))
    written = ", ".join(map(_r_expression, values))
    if array.ndim == 0:
        return written
    return f"c({written})" if array.ndim == 1 else f"array(c({written}), c({', '.join(map(str, array.shape))}))"


def tensor_requests(manifest: Manifest, example: Example, url: str) -> str:
    """Return two shell commands that run the default graph on the first row of its example.

    The first uses TensorFlow Serving's REST API, the second the Open Inference Protocol.
    """
    graph = manifest.graphs[manifest.default]
    inputs = {name: array[:1] if graph.batched else array for name, array in example.inputs.items()}
    datatypes = {name: _OIP_DATATYPES.get(spec.dtype, spec.dtype.upper()) for name, spec in graph.inputs.items()}
    tfserving_url, oip_url = f"{url}/v1/models/{manifest.name}:predict", f"{url}/v2/models/{manifest.name}/infer"
    by_column = len(inputs) > 1 or not graph.batched
    if fits_inline(inputs):
        values = {name: to_json_value(array) for name, array in inputs.items()}
        body = {"inputs": values} if by_column else {"instances": next(iter(values.values()))}
        tensors = [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatypes[name],
                "data": to_json_value(array.ravel()),
            }
            for name, array in inputs.items()
        ]
        return f"{curl_command(tfserving_url, body)}\n{curl_command(oip_url, {'inputs': tensors})}"
    names = json.dumps(list(inputs))
    load = f'arrays = numpy.load("examples.npz")\nprefix = "{manifest.default}/inputs/"\n'
    if graph.batched:
        load += f"tensors = {{name: arrays[prefix + name][:1] for name in {names}}}\n"
    else:
        load += f"tensors = {{name: arrays[prefix + name] for name in {names}}}\n"
    if by_column:
        expression = '{"inputs": {name: tensor.tolist() for name, tensor in tensors.items()}}'
    else:
        expression = f'{{"instances": tensors[{json.dumps(next(iter(inputs)))}].tolist()}}'
    load_oip = (
        f"{load}datatypes = {json.dumps(datatypes)}\n"
        'inputs = [{"name": name, "shape": tensor.shape, "datatype": datatypes[name],\n'
        '           "data": tensor.ravel().tolist()} for name, tensor in tensors.items()]\n'
    )
    return "\n".join(
        (
            piped_curl_command(tfserving_url, load, expression),
            piped_curl_command(oip_url, load_oip, '{"inputs": inputs}'),
        )
    )


def fits_inline(arrays: Arrays) -> bool:
    """Whether the arrays are small enough to be written out; texts always are."""
    return all(array.dtype == object or array.size <= INLINE_LIMIT for array in arrays.values())


def to_json_value(array: np.ndarray) -> Any:
    """Convert an array to a JSON value; numbers are rounded to three digits, since they are only examples."""
    if array.dtype == object:
        return np.vectorize(_text_value, otypes=[object])(array).tolist()
    return array.astype(np.float64).round(3).tolist() if array.dtype.kind == "f" else array.tolist()


def _text_value(item: bytes) -> Any:
    """A string as text, or as TensorFlow Serving writes bytes that are not text."""
    try:
        return item.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(item).decode()}


def curl_command(url: str, body: dict[str, Any]) -> str:
    """Return the command that sends ``body``."""
    return f"curl {url} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def piped_curl_command(url: str, preparation: str, body: str) -> str:
    """Return a command that sends the output of a Python program.

    ``preparation`` are the first lines of the program, ``body`` is the expression that it prints as JSON.
    """
    program = f"import json, numpy\n{preparation}print(json.dumps({body}))"
    return f"python -c {shlex.quote(program)} | curl {url} -d @-"
