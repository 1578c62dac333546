// The cases of gRPC's interoperability test with @grpc/grpc-js: node client.js ADDRESS PROTO
// Prints a line of JSON for each case: its name, and what was wrong or null. Source of the cases:
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md
'use strict';
const assert = require('assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [, , address, proto] = process.argv;
const api = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true })).grpc.testing;
const insecure = grpc.credentials.createInsecure();
const client = new api.TestService(address, insecure);
const other = new api.UnimplementedService(address, insecure);
const REQUESTS = [27182, 8, 1828, 45904];
const REPLIES = [31415, 9, 2653, 58979];

const payload = (size) => ({ body: Buffer.alloc(size) });
const wanted = (size, interval_us = 0) => ({ size, interval_us });

/** The reply, headers and status of a unary call. */
function unary(stub, method, request, metadata = new grpc.Metadata(), options = {}) {
  return new Promise((resolve) => {
    const found = {};
    const call = stub[method](request, metadata, options, (error, reply) => Object.assign(found, { error, reply }));
    call.on('metadata', (headers) => { found.headers = headers; });
    call.on('status', (status) => setImmediate(() => resolve({ ...found, status })));
  });
}

/** The replies and the status of a streaming call. */
function collect(call, each = () => {}) {
  return new Promise((resolve) => {
    const replies = [];
    let headers = null;
    call.on('metadata', (found) => { headers = found; });
    call.on('data', (reply) => { replies.push(reply.payload.body.length); each(replies.length); });
    call.on('error', () => {});
    call.on('status', (status) => resolve({ replies, headers, status }));
  });
}

function echoed() {
  const metadata = new grpc.Metadata();
  metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value');
  metadata.set('x-grpc-test-echo-trailing-bin', Buffer.from([0xab, 0xab, 0xab]));
  return metadata;
}

function checkEchoed({ headers, status }) {
  assert.deepStrictEqual(headers.get('x-grpc-test-echo-initial'), ['test_initial_metadata_value']);
  assert.deepStrictEqual([...status.metadata.get('x-grpc-test-echo-trailing-bin')[0]], [0xab, 0xab, 0xab]);
}

const cases = {
  async empty_unary() {
    assert.strictEqual((await unary(client, 'EmptyCall', {})).status.code, 0);
  },
  async large_unary() {
    const { reply } = await unary(client, 'UnaryCall', { response_size: 314159, payload: payload(271828) });
    assert.strictEqual(reply.payload.body.length, 314159);
  },
  async client_compressed_unary() {
    const gzip = new api.TestService(address, insecure, { 'grpc.default_compression_algorithm': 2 });
    const { reply } = await unary(gzip, 'UnaryCall', { response_size: 314159, payload: payload(271828) });
    assert.strictEqual(reply.payload.body.length, 314159);
    gzip.close();
  },
  async server_compressed_unary() {
    const { reply } = await unary(client, 'UnaryCall', {
      response_compressed: { value: true }, response_size: 314159, payload: payload(271828),
    });
    assert.strictEqual(reply.payload.body.length, 314159);
  },
  async client_streaming() {
    const reply = await new Promise((resolve, reject) => {
      const call = client.StreamingInputCall((error, found) => (error ? reject(error) : resolve(found)));
      REQUESTS.forEach((size) => call.write({ payload: payload(size) }));
      call.end();
    });
    assert.strictEqual(reply.aggregated_payload_size, 74922);
  },
  async server_streaming() {
    const { replies, status } = await collect(client.StreamingOutputCall({ response_parameters: REPLIES.map((size) => wanted(size)) }));
    assert.deepStrictEqual([replies, status.code], [REPLIES, 0]);
  },
  async ping_pong() {
    const call = client.FullDuplexCall();
    const next = (index) => {
      if (index === REQUESTS.length) return call.end();
      return call.write({ response_parameters: [wanted(REPLIES[index])], payload: payload(REQUESTS[index]) });
    };
    const done = collect(call, next);
    next(0);
    const { replies, status } = await done;
    assert.deepStrictEqual([replies, status.code], [REPLIES, 0]);
  },
  async empty_stream() {
    const call = client.FullDuplexCall();
    const done = collect(call);
    call.end();
    const { replies, status } = await done;
    assert.deepStrictEqual([replies, status.code], [[], 0]);
  },
  async cancel_after_begin() {
    const status = await new Promise((resolve) => {
      const call = client.StreamingInputCall(() => {});
      call.on('status', resolve);
      call.cancel();
    });
    assert.strictEqual(status.code, grpc.status.CANCELLED);
  },
  async cancel_after_first_response() {
    const call = client.FullDuplexCall();
    const done = collect(call, () => call.cancel());
    call.write({ response_parameters: [wanted(31415)], payload: payload(27182) });
    const { replies, status } = await done;
    assert.deepStrictEqual([replies, status.code], [[31415], grpc.status.CANCELLED]);
  },
  async timeout_on_sleeping_server() {
    const call = client.FullDuplexCall(new grpc.Metadata(), { deadline: Date.now() + 20 });
    const done = collect(call);
    call.write({ response_parameters: [wanted(1, 5e6)], payload: payload(27182) });
    assert.strictEqual((await done).status.code, grpc.status.DEADLINE_EXCEEDED);
  },
  async custom_metadata() {
    checkEchoed(await unary(client, 'UnaryCall', { response_size: 314159, payload: payload(271828) }, echoed()));
    const call = client.FullDuplexCall(echoed());
    const done = collect(call);
    call.write({ response_parameters: [wanted(314159)], payload: payload(271828) });
    call.end();
    checkEchoed(await done);
  },
  async status_code_and_message() {
    const response_status = { code: 2, message: 'test status message' };
    const { status } = await unary(client, 'UnaryCall', { response_status });
    assert.deepStrictEqual([status.code, status.details], [2, 'test status message']);
    const call = client.FullDuplexCall();
    const done = collect(call);
    call.write({ response_status });
    call.end();
    const streamed = (await done).status;
    assert.deepStrictEqual([streamed.code, streamed.details], [2, 'test status message']);
  },
  async special_status_message() {
    const message = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
    const { status } = await unary(client, 'UnaryCall', { response_status: { code: 2, message } });
    assert.deepStrictEqual([status.code, status.details], [2, message]);
  },
  async unimplemented_method() {
    assert.strictEqual((await unary(client, 'UnimplementedCall', {})).status.code, grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    assert.strictEqual((await unary(other, 'UnimplementedCall', {})).status.code, grpc.status.UNIMPLEMENTED);
  },
  async hundred_calls_at_once() {
    const sizes = Array.from({ length: 100 }, (_, index) => 1000 * index + 1);
    const found = await Promise.all(sizes.map((response_size) => unary(client, 'UnaryCall', { response_size })));
    assert.deepStrictEqual(found.map(({ reply }) => reply.payload.body.length), sizes);
  },
};

async function main() {
  for (const [name, run] of Object.entries(cases)) {
    let wrong = null;
    try { await run(); } catch (error) { wrong = String(error.stack || error); }
    console.log(JSON.stringify({ name, wrong }));
  }
}

main().then(() => process.exit(0));
