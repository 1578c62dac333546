"""OpenAI's Python client, synchronous and asynchronous, with both base URLs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import openai

from tests.serve.protocols.clients.calls import Calls


def refused(call: Any) -> str:
    try:
        call()
    except openai.APIStatusError as error:
        return f"{error.status_code} {error.param}"
    return "OK"


def main(http: str, _: str) -> None:
    for base in (f"{http}/openai/v1", f"{http}/v1"):
        ask(base)
    Calls.report()


def ask(base: str) -> None:
    client = openai.OpenAI(base_url=base, api_key="any", max_retries=0)
    create = client.completions.create
    greedy: dict[str, Any] = {"model": "writer", "prompt": "abc", "temperature": 0, "max_tokens": 4}
    Calls.same([model.id for model in client.models.list()], ["writer"])
    Calls.same(client.models.retrieve("writer").owned_by, "bookserve")
    answer = create(**greedy)
    Calls.same((answer.choices[0].text, answer.choices[0].finish_reason), ("deab", "length"))
    Calls.same((answer.usage.prompt_tokens, answer.usage.completion_tokens), (3, 4))
    Calls.same("".join(chunk.choices[0].text for chunk in create(**greedy, stream=True)), "deab")
    Calls.same([choice.text for choice in create(**{**greedy, "prompt": ["a", "b"]}).choices], ["bcde", "cdea"])
    Calls.same(create(**greedy, stop="a").choices[0].text, "de")
    judged = create(**{**greedy, "max_tokens": 0}, echo=True, logprobs=1).choices[0]
    Calls.same((judged.text, judged.logprobs.tokens, judged.logprobs.token_logprobs[0]), ("abc", list("abc"), None))
    seeded = [create(**{**greedy, "temperature": 1.5}, seed=3).choices[0].text for _ in range(2)]
    Calls.same(seeded[0], seeded[1])
    Calls.same(refused(lambda: create(**{**greedy, "temperature": 2.5})), "400 temperature")
    Calls.same(refused(lambda: create(**{**greedy, "model": "none"})), "404 model")
    Calls.same(refused(lambda: create(**greedy, logit_bias={"1": 5})), "400 logit_bias")
    Calls.same(refused(lambda: create(**greedy, extra_body={"min_p": 0.1})), "400 min_p")
    try:
        client.chat.completions.create(model="writer", messages=[{"role": "user", "content": "a"}])
    except openai.APIStatusError as error:
        Calls.same("completions" in error.message, True)
    asyncio.run(asynchronous(base, greedy))


async def asynchronous(base: str, greedy: dict[str, Any]) -> None:
    async with openai.AsyncOpenAI(base_url=base, api_key="any") as client:
        answers = await asyncio.gather(*(client.completions.create(**greedy) for _ in range(4)))
        Calls.same({answer.choices[0].text for answer in answers}, {"deab"})


if __name__ == "__main__":
    main(*sys.argv[1:])
