// Demo faults, to watch what the mesh does about them: /fail, /slow, and /hits to count the attempts.
import { setTimeout as pause } from 'node:timers/promises';
import { answer } from './answer.js';

const KEPT = 10_000;
const hits = new Map();

/** Count an attempt under `?key=`, else under its x-request-id; return how many there were. */
function hit(req, url) {
  const key = url.searchParams.get('key') ?? req.headers['x-request-id'] ?? '';
  const count = (hits.get(key) ?? 0) + 1;
  if (count === 1 && hits.size >= KEPT) hits.delete(hits.keys().next().value);
  hits.set(key, count);
  return count;
}

/** A whole number from the query, between `low` and `high`. */
function number(url, name, otherwise, low, high) {
  const value = Number(url.searchParams.get(name) ?? otherwise);
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw Object.assign(new Error(`${name} must be a whole number from ${low} to ${high}`), { status: 400 });
}

/** /fail?code=500&times=2&key=abc: the first `times` attempts (all, by default) get `code`, later ones 200. */
function failing(req, res, url) {
  const code = number(url, 'code', 500, 200, 599);
  const times = number(url, 'times', 1_000_000, 0, 1_000_000);
  const count = hit(req, url);
  answer(res, count <= times ? code : 200, { hits: count, ...(count <= times && { error: 'failed, as you asked' }) });
}

/** /slow?ms=500&key=abc: answer after a while. */
async function slow(req, res, url) {
  const ms = number(url, 'ms', 1000, 0, 60_000);
  const count = hit(req, url);
  await pause(ms);
  answer(res, 200, { hits: count, ms });
}

/** /hits?key=abc: how many attempts this very instance has seen. */
function counted(_req, res, url) {
  const key = url.searchParams.get('key') ?? '';
  answer(res, 200, { key, hits: hits.get(key) ?? 0 });
}

export const faults = [
  ['*', /^\/fail$/, failing],
  ['*', /^\/slow$/, slow],
  ['GET', /^\/hits$/, counted],
];
