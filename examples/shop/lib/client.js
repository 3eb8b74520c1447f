// Calls to other HTTP services: pooled connections, a limit in time, and errors that say who failed and why.
import http from 'node:http';
import { carriedHeaders, recordHeaders } from './context.js';

// The idle connections are closed by us, after 4 s: sooner than any server closes its end, so that
// a request never meets a connection that is just going away.
const agent = new http.Agent({ keepAlive: true, timeout: 4000 });

// Longer than any timeout of mesh.yaml: where the mesh gives up first, its reason is seen here.
const TIMEOUT_MS = 12_000;
const REPEATABLE = new Set(['GET', 'HEAD']);

/** An upstream that did not answer, or answered with an error. */
export class UpstreamError extends Error {
  constructor(service, status, reason) {
    super(status ? `${service} answered ${status}` : `${service} did not answer`);
    Object.assign(this, { service, status, reason });
  }
}

/** Send a request and return the response, its body still to be read. */
export function send(service, base, path, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const request = http.request(new URL(path, base), {
      agent,
      method,
      signal,
      headers: { ...headers, ...carriedHeaders() },
    });
    request.once('response', (response) => {
      recordHeaders(service, response.headers);
      resolve(response);
    });
    request.once('error', (error) => {
      // Node's documented idiom: a pooled connection that closed just as we took it is not a failure.
      const stale = request.reusedSocket && error.code === 'ECONNRESET' && REPEATABLE.has(method);
      if (stale) return resolve(send(service, base, path, { method, headers, body }));
      const reason = signal.aborted ? `no answer within ${TIMEOUT_MS} ms` : (error.code ?? error.message);
      reject(new UpstreamError(service, null, reason));
    });
    request.end(body);
  });
}

/** Send a request and return the JSON of its answer; UpstreamError for a status of 400 or more. */
export async function call(service, base, path, { method = 'GET', json } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  const headers = body ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } : {};
  const response = await send(service, base, path, { method, headers, body });
  const text = await readText(response).catch((error) => {
    throw new UpstreamError(service, response.statusCode, error.code ?? error.message);
  });
  if (response.statusCode >= 400) throw new UpstreamError(service, response.statusCode, reasonOf(text));
  return JSON.parse(text);
}

/** The whole body of a request or response as text. */
export const readText = async (stream) => (await readBody(stream)).toString();

/** The whole body of a request or response; an Error with `status` 413 above 64 kB. */
export async function readBody(stream) {
  const chunks = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > 65_536) throw Object.assign(new Error('a body of more than 64 kB'), { status: 413 });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The reason in an error's body: our own JSON, or Envoy's plain text ("RBAC: access denied"). */
function reasonOf(text) {
  try {
    const { error, reason } = JSON.parse(text);
    return reason ? `${error}: ${reason}` : (error ?? text);
  } catch {
    return text;
  }
}
