// The shop's front: a page for people, JSON for programs, both put together from catalog and orders.
import { pipeline } from 'node:stream/promises';
import { answer } from '../lib/answer.js';
import { call, readBody, readText, send, UpstreamError } from '../lib/client.js';
import { serve } from '../lib/server.js';
import { page } from './page.js';

const UPSTREAMS = {
  catalog: process.env.CATALOG_URL ?? 'http://127.0.0.1:8081',
  orders: process.env.ORDERS_URL ?? 'http://127.0.0.1:8082',
};
// Headers of one hop, which a proxy does not pass on (RFC 9110 §7.6.1), and the ones that proxies add for the next.
const ONE_HOP = /^(connection|keep-alive|te|trailer|transfer-encoding|upgrade|host|expect|proxy-.*|x-envoy-.*|x-forwarded-.*)$/;

const wantsHtml = (req) => (req.headers.accept ?? '').includes('text/html');

async function home(req, res) {
  const [{ items, served_by: catalog }, { orders, count, payments, served_by: by }] = await Promise.all([
    call('catalog', UPSTREAMS.catalog, '/items'),
    call('orders', UPSTREAMS.orders, '/orders'),
  ]);
  const view = { items, orders, count, payments, answered: { catalog, orders: by } };
  answer(res, 200, wantsHtml(req) ? page({ ...view, me: res.me }) : view);
}

/** POST /orders, as JSON or as a form: {"item": "tea", "quantity": 1}; both have defaults. */
async function order(req, res) {
  const { item = 'tea', quantity = 1 } = await wanted(req);
  const found = await upstream(() => call('catalog', UPSTREAMS.catalog, `/items/${encodeURIComponent(item)}`));
  const json = { item, quantity: Number(quantity), price_cents: found.item.price_cents };
  const placed = await upstream(() => call('orders', UPSTREAMS.orders, '/orders', { method: 'POST', json }));
  if (wantsHtml(req)) return answer(res, 303, '', { location: '/' });
  answer(res, 201, { order: placed.order, answered: { catalog: found.served_by, orders: placed.served_by } });
}

/** The body as an object. It is known by its looks, as `curl -d` calls everything a form. */
async function wanted(req) {
  const text = await readText(req);
  if (!text.trimStart().startsWith('{')) return Object.fromEntries(new URLSearchParams(text));
  try {
    return JSON.parse(text);
  } catch {
    throw Object.assign(new Error('the body is no JSON'), { status: 400 });
  }
}

/** What the customer did wrong stays a 4xx; all else that goes wrong upstream becomes a 502. */
async function upstream(work) {
  try {
    return await work();
  } catch (error) {
    const theirs = error instanceof UpstreamError && [400, 402, 404].includes(error.status);
    throw theirs ? Object.assign(new Error(error.reason), { status: error.status }) : error;
  }
}

/** /proxy/orders/fail?code=500: pass any request on, as it is, and its answer back. A tool to try routes and access. */
async function proxy(req, res, url, [, service, path]) {
  const headers = Object.fromEntries(Object.entries(req.headers).filter(([name]) => !ONE_HOP.test(name)));
  const body = await readBody(req);
  if (body.length) headers['content-length'] = body.length;
  const response = await send(service, UPSTREAMS[service], `${path}${url.search}`, { method: req.method, headers, body });
  const passed = Object.entries(response.headers).filter(([name]) => !ONE_HOP.test(name) && name !== 'x-instance');
  const answered = response.headers['x-instance'];
  res.writeHead(response.statusCode, {
    ...Object.fromEntries(passed),
    ...(answered && { [`x-${service}-instance`]: answered }),
  });
  await pipeline(response, res);
}

serve('web', 8080, [
  ['GET', /^\/$/, home],
  ['POST', /^\/orders$/, order],
  ['*', /^\/proxy\/(catalog|orders)(\/.*)$/, proxy],
]);
