// What the HTTP services share: a server on HOST:PORT, JSON answers, a health check and a graceful end.
import http from 'node:http';
import { hostname } from 'node:os';
import { answer } from './answer.js';
import { UpstreamError } from './client.js';
import { withContext } from './context.js';
import { faults } from './faults.js';

/** Who answers: a service, its version and its instance. */
export const identity = (service) => ({
  service,
  version: process.env.VERSION ?? 'v1',
  instance: process.env.INSTANCE ?? `${hostname()}-${process.pid}`,
});

/** Serve `routes`, rows of [method or '*', path as a RegExp, handler(req, res, url, match)]; the first that fits. */
export function serve(service, defaultPort, routes) {
  const me = identity(service);
  const rows = [['GET', /^\/healthz$/, (_req, res) => answer(res, 200, { ok: true })], ...faults, ...routes];
  const inFlight = new Set();
  const server = http.createServer((req, res) => {
    inFlight.add(res);
    res.once('close', () => {
      inFlight.delete(res);
      if (!server.listening) setImmediate(() => server.closeIdleConnections());
    });
    if (!server.listening) res.setHeader('connection', 'close');
    return withContext(req.headers, () => handle(rows, me, req, res));
  });
  // A server behind a proxy keeps idle connections for longer than the proxy does.
  server.keepAliveTimeout = 65_000;
  const host = process.env.HOST ?? '127.0.0.1';
  const port = Number(process.env.PORT ?? defaultPort);
  server.listen(port, host, () => console.log(`${service} ${me.version} (${me.instance}) listens on ${host}:${port}`));
  endGracefully((done) => {
    server.close(done); // closes idle connections; those in use close after the answer, which says so
    for (const res of inFlight) if (!res.headersSent) res.setHeader('connection', 'close');
  });
}

async function handle(rows, me, req, res) {
  res.me = me;
  res.setHeader('x-instance', me.instance);
  try {
    const url = new URL(req.url, 'http://shop');
    const fits = rows.filter(([, path]) => path.test(url.pathname));
    const row = fits.find(([method]) => method === '*' || method === req.method);
    if (!row) return answer(res, fits.length ? 405 : 404, { error: `no ${req.method} ${url.pathname} here` });
    await row[2](req, res, url, row[1].exec(url.pathname));
  } catch (error) {
    fail(res, error);
  }
}

/** Turn an error into an answer: 502 with the reason for an upstream's, the error's own status, else 500. */
function fail(res, error) {
  if (res.headersSent) return res.destroy();
  if (error instanceof UpstreamError) {
    const { service, status, reason } = error;
    return answer(res, 502, { error: error.message, upstream: service, status, reason });
  }
  if (!error.status) console.error(error);
  answer(res, error.status ?? 500, { error: error.message });
}

/** On SIGTERM or SIGINT: take no new work, finish what is in flight, exit with 0. */
export function endGracefully(close) {
  const end = () => {
    close(() => process.exit(0));
    setTimeout(() => process.exit(1), 20_000).unref();
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
}
