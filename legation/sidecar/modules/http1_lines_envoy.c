/* http1_lines as a network filter of Envoy's: a dynamic module (source/extensions/dynamic_modules/abi/abi.h, of v1.40). */
#include "http1_lines.h"

#define EXPORT __attribute__((visibility("default")))
#define IMPORT __attribute__((weak)) /* so that a test can load this without an Envoy around it */

struct buffer {
  void *bytes;
  size_t length;
};

enum status { CONTINUE };
enum close_type { NO_FLUSH = 1 };

IMPORT void *calloc(size_t, size_t);
IMPORT void free(void *);
IMPORT size_t envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks_size(void *envoy);
IMPORT bool envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks(void *envoy, struct buffer *chunks);
IMPORT void envoy_dynamic_module_callback_network_filter_close(void *envoy, enum close_type how);

EXPORT const char *envoy_dynamic_module_on_program_init(void) { return "v0.2.0"; } /* of the ABI */

EXPORT void *envoy_dynamic_module_on_network_filter_config_new(void *envoy, struct buffer name, struct buffer config) {
  (void)envoy, (void)name, (void)config;
  static char none;
  return &none;
}

EXPORT void envoy_dynamic_module_on_network_filter_config_destroy(void *config) { (void)config; }

EXPORT void *envoy_dynamic_module_on_network_filter_new(void *config, void *envoy) {
  (void)config, (void)envoy;
  return calloc(1, sizeof(struct lines)); /* Envoy closes a connection that has none */
}

EXPORT void envoy_dynamic_module_on_network_filter_destroy(void *lines) { free(lines); }

EXPORT enum status envoy_dynamic_module_on_network_filter_new_connection(void *envoy, void *lines) {
  (void)envoy, (void)lines;
  return CONTINUE;
}

EXPORT enum status envoy_dynamic_module_on_network_filter_write(void *envoy, void *lines, size_t size, bool end) {
  (void)envoy, (void)lines, (void)size, (void)end;
  return CONTINUE;
}

EXPORT void envoy_dynamic_module_on_network_filter_event(void *envoy, void *lines, int event) {
  (void)envoy, (void)lines, (void)event;
}

static void look(struct lines *lines, const struct buffer *chunks, size_t count) {
  for (size_t at = 0; at < count; at++) {
    uint8_t *bytes = chunks[at].bytes;
    size_t wrong = lines_look(lines, bytes, chunks[at].length);
    if (wrong < chunks[at].length) bytes[wrong] = 0;
  }
}

EXPORT enum status envoy_dynamic_module_on_network_filter_read(void *envoy, void *lines, size_t size, bool end) {
  (void)size, (void)end;
  size_t count = envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks_size(envoy);
  struct buffer few[16], *chunks = count > 16 ? calloc(count, sizeof *chunks) : few;
  if (chunks && envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks(envoy, chunks)) {
    look(lines, chunks, count);
  } else if (count) {
    envoy_dynamic_module_callback_network_filter_close(envoy, NO_FLUSH);
  }
  if (chunks != few) free(chunks);
  return CONTINUE;
}
