// Takes orders and has them paid. Keeps the last ones in memory.
import { randomUUID } from 'node:crypto';
import { answer } from '../lib/answer.js';
import { readText } from '../lib/client.js';
import { log } from '../lib/log.js';
import { serve } from '../lib/server.js';
import { charge, status } from './payments.js';

const KEPT = 20;
const last = [];
let count = 0;

async function list(_req, res) {
  const { charges, total_cents, instance } = await status();
  answer(res, 200, { count, orders: last.slice(-5).reverse(), payments: { charges, total_cents, instance } });
}

async function create(req, res) {
  const { item, quantity, price_cents } = checked(await readText(req));
  const id = randomUUID();
  const { payment_id } = await charge(id, quantity * price_cents);
  const order = { id, item, quantity, amount_cents: quantity * price_cents, payment_id };
  log('order placed', { order: id, item, payment: payment_id });
  count += 1;
  last.push(order);
  if (last.length > KEPT) last.shift();
  answer(res, 201, { order });
}

/** The order in a request's body; an Error with `status` 400 where it is none. */
function checked(text) {
  const { item, quantity = 1, price_cents } = parsed(text);
  const whole = (value, high) => Number.isInteger(value) && value >= 1 && value <= high;
  if (typeof item === 'string' && whole(quantity, 100) && whole(price_cents, 10_000_000)) {
    return { item, quantity, price_cents };
  }
  throw Object.assign(new Error('an order is {"item", "quantity" of 1 to 100, "price_cents"}'), { status: 400 });
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

serve('orders', 8082, [
  ['GET', /^\/orders$/, list],
  ['POST', /^\/orders$/, create],
]);
