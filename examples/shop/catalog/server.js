// What the shop sells. Version 2 knows the stock as well.
import { answer } from '../lib/answer.js';
import { serve } from '../lib/server.js';

const ITEMS = [
  { id: 'tea', name: 'Green tea', price_cents: 650, stock: 40 },
  { id: 'lamp', name: 'Desk lamp', price_cents: 3900, stock: 7 },
  { id: 'notebook', name: 'Notebook', price_cents: 450, stock: 120 },
  { id: 'piano', name: 'Grand piano', price_cents: 1_890_000, stock: 1 },
];

const shown = ({ stock, ...item }) => (process.env.VERSION === 'v2' ? { ...item, stock } : item);

function items(_req, res) {
  answer(res, 200, { items: ITEMS.map(shown) });
}

function item(_req, res, _url, [, id]) {
  const found = ITEMS.find((one) => one.id === id);
  if (!found) return answer(res, 404, { error: `no item ${id}` });
  answer(res, 200, { item: shown(found) });
}

serve('catalog', 8081, [
  ['GET', /^\/items$/, items],
  ['GET', /^\/items\/([a-z]+)$/, item],
]);
