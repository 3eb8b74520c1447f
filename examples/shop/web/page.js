// The shop's page.
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const safe = (text) => String(text).replace(/[&<>"']/g, (char) => ENTITIES[char]);
const money = (cents) => `€ ${(cents / 100).toFixed(2)}`;

const STYLE = `
  :root { color-scheme: light dark; --line: #8883; --soft: #8881; --ink: #2f6f5e; }
  * { box-sizing: border-box; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 3rem 1.25rem; }
  h1 { margin: 0; letter-spacing: -.02em; } h2 { margin: 2.5rem 0 .75rem; font-size: 1rem; opacity: .7; }
  .lead { margin: .25rem 0 0; opacity: .7; }
  .items { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
  .items form { border: 1px solid var(--line); border-radius: .75rem; padding: 1rem; background: var(--soft); }
  .items b { display: block; } .items span { opacity: .7; font-size: .9rem; }
  button { margin-top: .75rem; width: 100%; border: 0; border-radius: .5rem; padding: .45rem; color: #fff;
    background: var(--ink); font: inherit; cursor: pointer; }
  table { width: 100%; border-collapse: collapse; font-size: .9rem; }
  td { padding: .4rem .5rem .4rem 0; border-bottom: 1px solid var(--line); }
  td:last-child { text-align: right; } code { font-size: .85em; }`;

const itemCard = ({ id, name, price_cents, stock }) => `
    <form method="post" action="/orders">
      <b>${safe(name)}</b><span>${money(price_cents)}${stock === undefined ? '' : ` · ${safe(stock)} left`}</span>
      <button name="item" value="${safe(id)}">Order</button>
    </form>`;

const orderRow = ({ id, item, quantity, amount_cents }) => `
    <tr><td><code>${safe(id.slice(0, 8))}</code></td><td>${safe(quantity)} × ${safe(item)}</td><td>${money(amount_cents)}</td></tr>`;

const answeredRow = ({ service, version, instance }) => `
    <tr><td>${safe(service)}</td><td>${safe(version)}</td><td><code>${safe(instance)}</code></td></tr>`;

/** The page for what home() has put together. */
export function page({ items, orders, count, payments, answered, me }) {
  const behind = { service: 'payments', version: 'gRPC', instance: payments.instance };
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The shop</title>
<style>${STYLE}</style>
<h1>The shop</h1>
<p class="lead">Four Node.js services that know nothing of the mesh they run in.</p>
<h2>For sale</h2>
<div class="items">${items.map(itemCard).join('')}
</div>
<h2>Last orders</h2>
<table>${orders.map(orderRow).join('') || '<tr><td>none yet</td></tr>'}</table>
<p class="lead">${safe(count)} at this instance of orders, ${money(payments.total_cents)} charged in all.</p>
<h2>Who answered this page</h2>
<table>${[me, answered.catalog, answered.orders, behind].map(answeredRow).join('')}</table>
</html>
`;
}
