// The client of payments: gRPC, with a deadline and the request's own headers.
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { UpstreamError } from '../lib/client.js';
import { carriedHeaders, recordInstance } from '../lib/context.js';

const DEADLINE_MS = 5000;
const OPTIONS = {
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
};
const file = new URL('../proto/payments.proto', import.meta.url).pathname;
const { payments } = grpc.loadPackageDefinition(loadSync(file, { keepCase: true, longs: Number, defaults: true }));
const address = `${process.env.PAYMENTS_HOST ?? '127.0.0.1'}:${process.env.PAYMENTS_PORT ?? 9090}`;
const client = new payments.Payments(address, grpc.credentials.createInsecure(), OPTIONS);

/** Charge for an order. */
export const charge = (order_id, amount_cents) => unary('Charge', { order_id, amount_cents });

/** How much payments has charged so far. */
export const status = () => unary('Status', {});

function unary(method, message) {
  const metadata = new grpc.Metadata({ waitForReady: true }); // wait for a reconnect, up to the deadline
  for (const [name, value] of Object.entries(carriedHeaders())) metadata.set(name, value);
  return new Promise((resolve, reject) => {
    client[method](message, metadata, { deadline: Date.now() + DEADLINE_MS }, (error, reply) => {
      if (error) return reject(refusal(error));
      recordInstance('payments', reply.instance);
      resolve(reply);
    });
  });
}

/** A declined card is the customer's to hear of; all else is payments' failure. */
function refusal(error) {
  if (error.code === grpc.status.FAILED_PRECONDITION) {
    return Object.assign(new Error(error.details), { status: 402 });
  }
  return new UpstreamError('payments', grpc.status[error.code], error.details);
}
