"""OpenAI's own client, in a process of its own: asks and prints what it understood as JSON.

Run by ``test_official.py``: ``python -m tests.serve.protocols.openai.official_client http://HOST:PORT``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import openai


def main(server: str) -> dict[str, Any]:
    client = openai.OpenAI(base_url=f"{server}/openai/v1", api_key="any", max_retries=0)
    create = client.completions.create
    base: dict[str, Any] = {"model": "writer", "prompt": "abc", "seed": 5, "max_tokens": 60, "temperature": 1.5}

    short = openai.OpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0)
    two = {"prompt": ["a", "b"], "temperature": 0, "max_tokens": 4, "n": 2, "echo": True}

    def streamed(**more: Any) -> dict[str, Any]:
        texts: dict[int, str] = {}
        reasons: dict[int, str | None] = {}
        usages, ids = [], set()
        for chunk in create(**{**base, "stream": True, **more}):
            ids.add(chunk.id)
            usages.append(chunk.usage and chunk.usage.model_dump(exclude_none=True))
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
                reasons[choice.index] = choice.finish_reason
        return {"texts": texts, "reasons": reasons, "usages": usages, "ids": len(ids)}

    def refused(**more: Any) -> list[Any]:
        try:
            create(**{**base, **more})
        except openai.APIStatusError as error:
            return [type(error).__name__, error.status_code, error.type, error.param, error.code]
        return []

    async def asynchronous() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server}/openai/v1", api_key="any") as other:
            chunks = [chunk async for chunk in await other.completions.create(**base, stream=True)]
        return "".join(chunk.choices[0].text for chunk in chunks)

    def given_up() -> str:
        stream = create(**{**base, "max_tokens": 100_000, "stream": True})
        first = next(iter(stream)).choices[0].text
        stream.close()
        return first

    def no_chat() -> str:
        try:
            client.chat.completions.create(model="writer", messages=[{"role": "user", "content": "a"}])
        except openai.NotFoundError as error:
            return error.message
        return ""

    return {
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve("writer").model_dump(exclude_none=True),
        "version": client.models.retrieve("writer:1").id,
        "plain": create(**base).model_dump(),
        "streamed": streamed(),
        "asynchronous": asyncio.run(asynchronous()),
        "several": create(**base, n=3).model_dump(),
        "several streamed": streamed(n=3, stream_options={"include_usage": True}),
        "prompts": create(**{**base, **two}).model_dump(),
        "prompts streamed": streamed(**two),
        "stopped": create(**{**base, "temperature": 0}, stop=["ab", "x"]).model_dump(),
        "stopped streamed": streamed(temperature=0, stop="ab"),
        "logprobs": create(**{**base, "max_tokens": 5}, logprobs=2).model_dump(),
        "best": create(**{**base, "max_tokens": 9}, n=2, best_of=6).model_dump(),
        "defaults": create(model="writer", prompt="abc").model_dump(),
        "extra": create(**{**base, "temperature": 2}, extra_body={"top_k": 1, "mode": "window"}).model_dump(),
        "given up": given_up(),
        "chat": no_chat(),
        "judged": create(
            model="writer", prompt=["abd", "ABDabcdeab"], max_tokens=0, echo=True, logprobs=1
        ).model_dump(),
        "judged and continued": create(
            model="writer", prompt="abd", max_tokens=1, temperature=0, echo=True, logprobs=2
        ).model_dump(),
        "judged streamed": [
            chunk.choices[0].model_dump()
            for chunk in create(model="writer", prompt="ab", max_tokens=0, echo=True, logprobs=0, stream=True)
        ],
        "nothing": create(model="writer", prompt="abc", max_tokens=0).model_dump()["choices"][0],
        "short base": [
            short.completions.create(**base).choices[0].text,
            [model.id for model in short.models.list()],
            short.models.retrieve("writer").owned_by,
        ],
        "refused": {
            "model": refused(model="nothing"),
            "verb": refused(model="digits"),
            "version": refused(model="writer:9"),
            "path": refused(model="../writer"),
            "prompt": refused(prompt="xyz"),
            "streamed prompt": refused(prompt="xyz", stream=True),
            "one prompt of two": refused(prompt=["ab", "xyz"]),
            "ids": refused(prompt=[1, 2, 3]),
            "no prompts": refused(prompt=[]),
            "many prompts": refused(prompt=["a"] * 129),
            "temperature": refused(temperature=-1),
            "hot": refused(temperature=2.1),
            "top_p": refused(top_p=0),
            "length": refused(max_tokens=-1),
            "n": refused(n=129),
            "all": refused(n=128, max_tokens=100_000),
            "best_of": refused(n=3, best_of=2),
            "best streamed": refused(best_of=3, stream=True),
            "stop": refused(stop=["a"] * 17),
            "empty stop": refused(stop=""),
            "logprobs": refused(logprobs=6),
            "suffix": refused(suffix="x"),
            "penalty": refused(presence_penalty=1.0),
            "bias": refused(logit_bias={"1": 2}),
            "min_p": refused(extra_body={"min_p": 0.05}),
            "repetition_penalty": refused(extra_body={"repetition_penalty": 1.1}),
            "grammar": refused(extra_body={"grammar": "root ::= a"}),
            "best of a beam": refused(extra_body={"use_beam_search": True}),
            "seed": refused(seed=-1),
            "options": refused(stream_options={"include_usage": True}),
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
