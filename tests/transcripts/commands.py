"""The command line: helps, and commands that need no server, over each address, and that fail."""

from __future__ import annotations

from tests.transcripts.asked import Command

#: Order and spelling of the commands are compared with the front door's help.
NAMES = (
    *("demo", "tasks", "train", "search", "runs", "compare", "inside", "export", "compose", "verify", "models"),
    *("push", "pull", "serve", "predict", "generate", "sample", "dream", "style", "explain", "activations"),
    *("filters", "bench"),
)
URLS = ("local:models", "{http}", "{grpc}")
TWO = ("[0, 1, 2]", "[3, 4, 5]")
COLD = ("--seed", "5", "--temperature", "1.5", "--length", "60")


def _run(*words: str, out: str = "said", files: tuple[str, ...] = (), stdin: str = "", note: str = "") -> Command:
    name = " ".join(word if len(word) < 40 else f"{word[:30]}…" for word in words) + (f": {note}" if note else "")
    return Command(name, list(words), out, tuple(files), stdin)


def _everywhere(*words: str, out: str = "json", files: tuple[str, ...] = ()) -> list[Command]:
    return [_run(*words, "--url", url, out=out, files=files) for url in URLS]


COMMANDS = [
    _run("--help", out="help"),
    _run("-h", out="help"),
    _run("--version"),
    *(_run(name, "--help", out="help") for name in NAMES),
    *(_run("bench", name, "--help", out="help") for name in ("predict", "generate", "sample")),
    *(_run("inside", name, "--help", out="help") for name in ("activations", "concept", "filters", "gradcam")),
    _run("tasks", out="first"),
    _run("tasks", "--json", out="kinds"),
    # Models
    _run("models", out="table"),
    _run("models", "--json", out="json"),
    *_everywhere("models", "--json"),
    # Predict
    *_everywhere("predict", "affine", *TWO, "--json"),
    *_everywhere("predict", "digits", "bright.png", "dark.png", "--json"),
    *_everywhere("predict", "reviews", "a good good film", "--json"),
    *_everywhere("predict", "pair", '{"a": [1, 2], "b": 3}', "--json"),
    *_everywhere("predict", "vote", "bright.png", "--version", "1", "--json"),
    _run("predict", "affine", *TWO, out="table"),
    _run("predict", "digits", "bright.png", out="table"),
    _run("predict", "digits", "bright.png", "--version", "1", "--json", out="json"),
    _run("predict", "template_dense_multiclass", str([0.25] * 16), "--json", out="json"),
    _run("predict", "boston_housing", str([0.25] * 13), "--json", out="json"),
    *(
        _run("predict", "affine", file, "--json", out="json")
        for file in ("rows.json", "rows.jsonl", "rows.csv", "rows.npy")
    ),
    _run("predict", "affine", "-", "--json", out="json", stdin="1,2,3\n4,5,6\n"),
    _run("predict", "reviews", "texts.txt", "--json", out="json"),
    *(
        _run("predict", "affine", *TWO, "-o", f"a.{kind}", files=(f"a.{kind}",))
        for kind in ("json", "jsonl", "csv", "npy", "npz")
    ),
    _run("predict", "reviews", "bad", "-o", "b.csv", files=("b.csv",)),
    # Generate
    *_everywhere("generate", "writer", "--prompt", "abc", *COLD, out="text"),
    *_everywhere("generate", "writer", "--prompt", "abc", *COLD, "-n", "2", "--logprobs", "1", "--json"),
    _run("generate", "writer", "--seed", "1", "--length", "20", "--mode", "window", out="text"),
    _run(
        "generate",
        "writer",
        "--temperature",
        "0",
        "--length",
        "20",
        "--stop",
        "ab",
        "--top-k",
        "2",
        "--top-p",
        "0.5",
        out="text",
    ),
    _run("generate", "writer", "--prompt", "-", "--length", "4", "--temperature", "0", out="text", stdin="abc"),
    _run("generate", "writer", "--seed", "1", "-n", "2", "--length", "5", out="text"),
    # Sample
    *_everywhere("sample", "plane", "-n", "2", "--seed", "3", "-o", "s.npy", out="said", files=("s.npy",)),
    _run("sample", "plane", "--grid", "2", "-o", "grid.png", files=("grid.png",)),
    _run("sample", "plane", "--latent", "0.5,-1", "--latent", "0,0", files=("plane.png",)),
    _run("sample", "plane", "-n", "2", "--walk", "3", "--seed", "3", "-o", "walk.gif", files=("walk.gif",)),
    _run("sample", "plane", "--image", "bright.png", "-o", "i.npy", files=("i.npy",)),
    _run("sample", "plane", "--with", "have", "--without", "lack", "--latent", "0,0", "-o", "w.npy", files=("w.npy",)),
    # Pictures
    *_everywhere("explain", "corners", "left.png", "--json", "-o", "e.png", files=("e.png",)),
    *_everywhere("activations", "corners", "left.png", "-o", "layers", out="said", files=("layers",)),
    *_everywhere(
        "dream", "photo.png", "--model", "dreamer", "-p", "iterations=2", "-o", "d.png", out="said", files=("d.png",)
    ),
    _run(
        "style", "photo.png", "photo.png", "--model", "painter", "-p", "iterations=1", "-o", "p.png", files=("p.png",)
    ),
    # Bundles
    _run("verify", "--all", "--json", out="json"),
    _run("verify", "affine", "digits/1", out="table"),
    _run("compose", "both", "digits/1=1", "digits/2=3", files=("models/both",)),
    _run("predict", "both", "bright.png", "--json", out="json"),
    _run("push", "affine", "digits/1", "there", "--json", out="json", files=("there",)),
    _run("push", "affine", "there"),
    _run("pull", "there", "--models", "here", "--json", out="json", files=("here",)),
    _run("pull", "there", "digits/1", "--models", "here2", files=("here2",)),
    _run("models", "--models", "here", "--json", out="json"),
    # Training
    _run("train", "template_dense_binary", "--data", "sample", "--epochs", "1", "--seed", "1"),
    _run("runs", "--json", out="kinds"),
    _run("export", "template_dense_binary", files=("models/template_dense_binary",)),
    _run("models", "--json", out="kinds", note="once more are there"),
    _run("predict", "template_dense_binary", str([0.25] * 16), "--json", out="kinds"),
    # Failures
    _run(),
    _run("nothing"),
    _run("--nothing"),
    _run("predict"),
    _run("predict", "digits"),
    _run("predict", "digits", "[1]", "-o", "answers.xlsx"),
    _run("sample", "plane", "-n", "3", "--grid", "2"),
    _run("sample", "plane", "--latent", "one,two"),
    _run("sample", "plane", "--latent", "1,2,3"),
    _run("sample", "digits"),
    _run("sample", "plane", "-o", "no/such/place.png"),
    _run("models", "--models", ".", "--url", "local:."),
    _run("models", "--models", "nowhere"),
    _run("models", "--url", "nonsense"),
    _run("generate", "writer", "--temperature", "-1"),
    _run("generate", "writer", "--length", "0"),
    _run("generate", "affine"),
    *_everywhere("generate", "nothing", out="said"),
    *_everywhere("predict", "nothing", "[1]", out="said"),
    *_everywhere("predict", "affine", "[1, 2]", out="said"),
    *_everywhere("predict", "affine", "[1, 2, 3]", "--version", "7", out="said"),
    *_everywhere("sample", "affine", out="said"),
    _run("predict", "digits", "digit.png"),
    _run("predict", "digits", "broken.png"),
    _run("predict", "affine", "broken.json"),
    _run("predict", "pair", '{"a": [1], "b": 0.5}'),
    _run("predict", "affine", "[1, 2, 3]", "--url", "local:nowhere"),
    _run("predict", "affine", "[1, 2, 3]", "--url", "http://127.0.0.1:9"),
    _run("generate", "writer", "--url", "grpc://127.0.0.1:9"),
    _run("dream", "photo.png", "--model", "dreamer", "-p", "more=1", "-o", "x.png"),
    _run("explain", "digits", "bright.png"),
    _run("filters", "corners"),
    _run("verify"),
    _run("verify", "nothing"),
    _run("verify", "affine", "--models", "nowhere"),
    _run("compose", "c", "digits"),
    _run("compose", "c", "digits", "nothing"),
    _run("compose", "c", "digits", "affine"),
    _run("compose", "c", "digits=x", "affine"),
    _run("push", "nothing", "there"),
    _run("push", "affine"),
    _run("pull", "nowhere"),
    _run("pull", "there", "nothing"),
    _run("export"),
    _run("export", "nothing"),
    _run("train"),
    _run("train", "nothing"),
    _run("train", "mnist_dense", "-p", "nothing=1"),
    _run("train", "mnist_dense", "--data", "other"),
    _run("runs", "--runs", "nowhere"),
    _run("compare", "a", "b"),
    _run("serve", "nowhere"),
    _run("serve", "models", "--cors", "example.org/page"),
    _run("serve", "models", "--tls-key", "x"),
    _run("serve", "models", "--version-policy", "odd"),
    _run("serve", "models", "--http-port", "99999"),
    _run("serve", "models", "--config", "nothing.toml"),
    _run("serve", "models", "--model-config-file", "nothing.config"),
    _run("bench", "nothing"),
]
