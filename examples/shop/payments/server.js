// Takes the money, over gRPC, and answers grpc.health.v1 for its health.
import { randomUUID } from 'node:crypto';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { HealthImplementation } from 'grpc-health-check';
import { endGracefully, identity } from '../lib/server.js';

const LIMIT_CENTS = 1_000_000;
const { service, version, instance } = identity('payments');
const file = new URL('../proto/payments.proto', import.meta.url).pathname;
const { payments } = grpc.loadPackageDefinition(loadSync(file, { keepCase: true, longs: Number, defaults: true }));
let charges = 0;
let total_cents = 0;

function charge({ request }, reply) {
  if (request.amount_cents > LIMIT_CENTS) {
    return reply({ code: grpc.status.FAILED_PRECONDITION, details: 'card declined: too much for this card' });
  }
  charges += 1;
  total_cents += request.amount_cents;
  reply(null, { payment_id: randomUUID(), instance, version });
}

function status(_call, reply) {
  reply(null, { charges, total_cents, instance, version });
}

const server = new grpc.Server();
server.addService(payments.Payments.service, { Charge: charge, Status: status });
new HealthImplementation({ '': 'SERVING', 'payments.Payments': 'SERVING' }).addToServer(server);

const address = `${process.env.HOST ?? '127.0.0.1'}:${process.env.PORT ?? 9090}`;
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  console.log(`${service} ${version} (${instance}) listens on ${address}`);
});
endGracefully((done) => server.tryShutdown(done));
