// What the HTTP services share: a server on HOST:PORT, JSON answers, a health check and a graceful end.
import http from 'node:http';
import net from 'node:net';
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
  let ending = false; // connections close after their next answer, which says so
  let ended = false; // and so do those that are idle
  const server = http.createServer((req, res) => {
    inFlight.add(res);
    res.once('close', () => {
      inFlight.delete(res);
      if (ended) setImmediate(() => server.closeIdleConnections());
    });
    if (ending) res.setHeader('connection', 'close');
    return withContext(req.headers, () => handle(rows, me, req, res));
  });
  // A server behind a proxy keeps idle connections for longer than the proxy does.
  server.keepAliveTimeout = 65_000;
  const host = process.env.HOST ?? '127.0.0.1';
  const port = Number(process.env.PORT ?? defaultPort);
  server.listen(port, host, () => console.log(`${service} ${me.version} (${me.instance}) listens on ${host}:${port}`));
  endGracefully((done) => {
    ending = true;
    for (const res of inFlight) if (!res.headersSent) res.setHeader('connection', 'close');
    // Once who waits to be let in is, with a request maybe; http's own close would close idle connections too.
    setImmediate(() => net.Server.prototype.close.call(server, done));
    // Those stay for a while: a proxy that nobody tells of this end may just be sending a request on one.
    setTimeout(() => {
      ended = true;
      server.closeIdleConnections();
    }, Number(process.env.SHUTDOWN_DELAY_MS ?? 0));
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
