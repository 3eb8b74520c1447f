#!/usr/bin/env node
// Stands in for the images of compose.yaml where none can be pulled: a server that greets whoever connects, as MySQL
// does, and knows tables; its client that pings; the job that makes a table; and the app that ends where there is none.
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');

const { DB_HOST = '127.0.0.1', DB_PORT = '3306', MYSQL_DATABASE } = process.env;

function ask(line) {
  return new Promise((resolve, reject) => {
    let said = '';
    const socket = net.connect(Number(DB_PORT), DB_HOST);
    socket.setTimeout(5000, () => socket.destroy(new Error('no greeting within 5 s')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed')));
    socket.on('data', (data) => {
      const [greeting, answer] = (said += data).split('\n');
      if (greeting && answer === '') socket.write(`${line}\n`);
      if (answer) resolve(answer), socket.destroy();
    });
  });
}

function serveTables() {
  const tables = new Set();
  const answers = (line) => (line.startsWith('create ') ? tables.add(line.slice(7)) : tables);
  net.createServer((socket) => {
    socket.on('error', () => {});
    socket.write('8.4.0\n');
    socket.on('data', (data) => socket.end(`tables: ${[...answers(String(data).trim())]}\n`));
  }).listen(3306, '0.0.0.0');
}

async function serveOrders() {
  const there = await ask('show');
  if (!there.includes('orders')) throw new Error(`not migrated: ${there}`);
  http.createServer(async (_, response) => {
    response.end(await ask('show').catch((error) => `no database: ${error.message}`));
  }).listen(8000, '0.0.0.0');
}

const [, called, ...words] = process.argv;
if (path.basename(called) === 'mysqladmin') ask('show').then(console.log);
else if (words.length) ask('create orders').then(console.log); // ./migrate up
else if (MYSQL_DATABASE) serveTables();
else serveOrders();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit());
