// What an app says of a request, as a line of JSON on stdout that bears the request's trace: `legation logs --trace ID`.
import { carriedHeaders } from './context.js';

/** Write a line; `more` are fields beside the text. */
export function log(text, more = {}) {
  const { traceparent = '', 'x-request-id': request_id } = carriedHeaders();
  const [, trace_id] = traceparent.split('-');
  console.log(JSON.stringify({ time: new Date().toISOString(), msg: text, trace_id, request_id, ...more }));
}
