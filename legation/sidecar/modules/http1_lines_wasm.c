/* http1_lines as a network filter of proxy-wasm (ABI 0.2.1), for an Envoy that cannot load it as it is. */
#include "http1_lines.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))

enum { OK, DOWNSTREAM = 2, PAGE = 65536, RECORDS = 65536 };

/* One connection, by its context id; 0: free. There are more than an Envoy takes connections. */
struct record {
  uint32_t context;
  struct lines lines;
};

static struct record records[RECORDS];
extern uint8_t __heap_base[]; /* from here on are the bytes that we look at */

IMPORT("proxy_get_buffer_bytes") int get(int type, size_t start, size_t most, uint8_t **bytes, size_t *size);
IMPORT("proxy_set_buffer_bytes") int set(int type, size_t start, size_t size, const uint8_t *bytes, size_t length);

EXPORT("proxy_abi_version_0_2_1") void version(void) {}
EXPORT("proxy_on_context_create") void on_context_create(uint32_t context, uint32_t root) { (void)context, (void)root; }
EXPORT("proxy_on_vm_start") int on_vm_start(uint32_t root, size_t size) { return (void)root, (void)size, 1; }
EXPORT("proxy_on_configure") int on_configure(uint32_t root, size_t size) { return (void)root, (void)size, 1; }

/* Envoy takes memory for each buffer that it hands over; one place serves, as each is done with before the next. */
EXPORT("proxy_on_memory_allocate") uint8_t *on_memory_allocate(size_t size) {
  size_t needed = (size_t)__heap_base + size, there = __builtin_wasm_memory_size(0) * PAGE;
  if (needed > there && __builtin_wasm_memory_grow(0, (needed - there + PAGE - 1) / PAGE) == (size_t)-1) return NULL;
  return __heap_base;
}

/* Return the record of a context, or the first free one (key 0) from its place on; NULL where there is none. */
static struct record *record(uint32_t key, uint32_t context) {
  for (uint32_t at = 0; at < RECORDS; at++) {
    struct record *found = &records[(context + at) % RECORDS];
    if (found->context == key) return found;
  }
  return NULL;
}

EXPORT("proxy_on_new_connection") int on_new_connection(uint32_t context) {
  struct record *free = record(0, context);
  if (!free) __builtin_trap();
  *free = (struct record){.context = context};
  return 0;
}

EXPORT("proxy_on_delete") void on_delete(uint32_t context) {
  struct record *found = record(context, context); /* root contexts and connections that never came so far have none */
  if (found) found->context = 0;
}

EXPORT("proxy_on_downstream_data") int on_downstream_data(uint32_t context, size_t size, int end) {
  (void)end;
  struct record *found = record(context, context);
  if (!found) __builtin_trap();
  size_t at = lines_skip(&found->lines, size);
  uint8_t *bytes;
  size_t got;
  if (at == size || get(DOWNSTREAM, 0, size, &bytes, &got) != OK) return 0;
  size_t wrong = at + lines_look(&found->lines, bytes + at, got - at);
  if (wrong == got) return 0;
  bytes[wrong] = 0;
  set(DOWNSTREAM, 0, got, bytes, got);
  return 0;
}
