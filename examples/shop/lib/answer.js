// How every answer looks: who gave it, and through whom.
import { instanceHeaders } from './context.js';

/** Answer with JSON (an object, signed with who answers) or with HTML (a string). */
export function answer(res, status, body, headers = {}) {
  const text = typeof body === 'string' ? body : `${JSON.stringify({ ...body, served_by: res.me })}\n`;
  const type = typeof body === 'string' ? 'text/html; charset=utf-8' : 'application/json';
  res.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    ...instanceHeaders(),
    ...headers,
  });
  res.end(text);
}
