"""An evaluation by lm-evaluation-harness with its model ``local-completions``: log-probabilities and generated texts.

The task and its tokenizer are written here: a token is a character, as in the server.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.serve.protocols.clients.calls import Calls

TASK = """
task: alphabet
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/alphabet.json}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""
GENERATE = """
task: alphabet_generate
dataset_path: json
dataset_kwargs:
  data_files: {{test: {folder}/alphabet.json}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{next}}}}"
generation_kwargs: {{until: ["x"], max_gen_toks: 2, do_sample: false, temperature: 0.0}}
metric_list: [{{metric: exact_match}}]
"""
#: After each letter comes the next of the alphabet, so that the first choice is the likelier one.
ROWS = [
    {"text": "abc", "choices": ["d", "a"], "gold": 0, "next": "de"},
    {"text": "bcd", "choices": ["b", "e"], "gold": 1, "next": "ea"},
    {"text": "e", "choices": ["ab", "ba"], "gold": 0, "next": "ab"},
]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: index for index, token in enumerate(["<unk>", "<end>", *"abcde"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 512}))


def main(http: str, _: str) -> None:
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_HOME"] = name
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        write_tokenizer(folder)
        (folder / "alphabet.json").write_text("\n".join(map(json.dumps, ROWS)))
        (folder / "alphabet.yaml").write_text(TASK.format(folder=folder))
        (folder / "alphabet_generate.yaml").write_text(GENERATE.format(folder=folder))
        arguments = {
            "model": "writer",
            "base_url": f"{http}/v1/completions",
            "tokenizer": name,
            "tokenizer_backend": "huggingface",
            "tokenized_requests": False,
            "num_concurrent": 2,
            "max_retries": 1,
        }
        found = simple_evaluate(
            model="local-completions",
            model_args=arguments,
            tasks=["alphabet", "alphabet_generate"],
            task_manager=TaskManager(include_path=name, include_defaults=False),
            bootstrap_iters=0,
        )
        scores = found["results"]
        Calls.same(scores["alphabet"]["acc,none"], 1)
        Calls.same(scores["alphabet_generate"]["exact_match,none"], 1)
    Calls.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
