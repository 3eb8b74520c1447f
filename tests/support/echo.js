// A service of the tests, beside the shop's: it says back what reached it, and falls ill or slow when it is told to.
import { setTimeout as pause } from 'node:timers/promises';
import { answer } from './lib/answer.js';
import { serve } from './lib/server.js';

let status = 200;
let delay = 0;
let all = 200;

const well = (_req, res) => answer(res, status, {});
const environment = (_req, res) => answer(res, 200, { environment: process.env });

/** POST /become?status=503&delay=200&all=503: what /well answers; how many ms everything else takes, and its status. */
function become(_req, res, url) {
  status = Number(url.searchParams.get('status') ?? 200);
  delay = Number(url.searchParams.get('delay') ?? 0);
  all = Number(url.searchParams.get('all') ?? 200);
  answer(res, 200, {});
}

async function echo(req, res) {
  await pause(delay);
  answer(res, all, { method: req.method, path: req.url, headers: req.headers });
}

serve('echo', 8080, [
  ['GET', /^\/well$/, well],
  ['POST', /^\/become$/, become],
  ['GET', /^\/environment$/, environment],
  ['*', /^\/.*$/, echo],
]);
