// What belongs to one request: the headers that go on to the services it calls, and who answered on its way.
// This is all that an app does for the mesh's traces: Envoy makes the spans, the app carries the headers on.
import { AsyncLocalStorage } from 'node:async_hooks';

const CARRIED = ['traceparent', 'tracestate', 'baggage', 'x-request-id'];
const storage = new AsyncLocalStorage();

/** Run `work` for a request with these headers; all that it awaits knows them. */
export function withContext(headers, work) {
  const carried = Object.fromEntries(CARRIED.filter((name) => headers[name]).map((name) => [name, headers[name]]));
  return storage.run({ carried, instances: {} }, work);
}

/** The headers to send with every outbound call of this request. */
export const carriedHeaders = () => storage.getStore()?.carried ?? {};

/** Keep which instance of a service answered. */
export function recordInstance(service, instance) {
  const store = storage.getStore();
  if (store && instance) store.instances[`x-${service}-instance`] = instance;
}

/** Keep what an answer says of the services behind it (`x-payments-instance` in orders' answer). */
export function recordHeaders(service, headers) {
  recordInstance(service, headers['x-instance']);
  for (const [name, value] of Object.entries(headers)) {
    const behind = /^x-([a-z0-9-]+)-instance$/.exec(name);
    if (behind) recordInstance(behind[1], value);
  }
}

/** The `x-<service>-instance` headers of all that answered so far. */
export const instanceHeaders = () => storage.getStore()?.instances ?? {};
