// OpenAI's JavaScript client with both base URLs: node openai_client.mjs http://HOST:PORT
import assert from 'node:assert/strict';
import OpenAI from 'openai';

let calls = 0;
const same = (found, expected) => { assert.deepEqual(found, expected); calls += 1; };
const server = process.argv[2];

async function refused(call) {
  try {
    await call();
  } catch (error) {
    return [error.status, error.param];
  }
  return ['OK'];
}

for (const baseURL of [`${server}/openai/v1`, `${server}/v1`]) {
  const client = new OpenAI({ baseURL, apiKey: 'any', maxRetries: 0 });
  const greedy = { model: 'writer', prompt: 'abc', temperature: 0, max_tokens: 4 };
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  same(ids, ['writer']);
  same((await client.models.retrieve('writer')).owned_by, 'bookserve');
  const answer = await client.completions.create(greedy);
  same([answer.choices[0].text, answer.choices[0].finish_reason], ['deab', 'length']);
  let text = '';
  for await (const chunk of await client.completions.create({ ...greedy, stream: true })) text += chunk.choices[0].text;
  same(text, 'deab');
  const judged = await client.completions.create({ ...greedy, max_tokens: 0, echo: true, logprobs: 1 });
  same(judged.choices[0].logprobs.tokens, ['a', 'b', 'c']);
  same(await refused(() => client.completions.create({ ...greedy, temperature: 2.5 })), [400, 'temperature']);
  same(await refused(() => client.completions.create({ ...greedy, model: 'none' })), [404, 'model']);
  same((await refused(() => client.chat.completions.create({
    model: 'writer', messages: [{ role: 'user', content: 'a' }],
  })))[0], 404);
  // A reader who leaves a stream
  const stream = await client.completions.create({ ...greedy, max_tokens: 100000, stream: true });
  for await (const chunk of stream) { same(typeof chunk.choices[0].text, 'string'); break; }
  same((await client.completions.create(greedy)).choices[0].text, 'deab');
}
console.log(`${calls} calls`);
