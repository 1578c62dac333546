// Calls with Node's own HTTP/2 and a small SETTINGS_HEADER_TABLE_SIZE: node table_size.js ADDRESS SIZE
// Prints the gRPC statuses of ten calls as a list of JSON.
'use strict';
const http2 = require('http2');

const [, , address, size] = process.argv;
const session = http2.connect(`http://${address}`, { settings: { headerTableSize: Number(size) } });

function call() {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST', ':path': '/grpc.testing.TestService/EmptyCall', te: 'trailers', 'content-type': 'application/grpc',
    });
    let status = null;
    stream.on('trailers', (trailers) => { status = trailers['grpc-status']; });
    stream.on('error', reject);
    stream.on('end', () => resolve(status));
    stream.resume();
    stream.end(Buffer.alloc(5));
  });
}

async function main() {
  const statuses = [];
  for (let index = 0; index < 10; index += 1) statuses.push(await call());
  console.log(JSON.stringify(statuses));
  session.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
