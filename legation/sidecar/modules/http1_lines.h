/* Watches the lines of HTTP/1 requests before Envoy's codec, which takes bare CR, bare LF and folded lines in silence
 * (RFC 9112 §2.2, §5.2): pure, bytes in, and the place of the first one that no line may hold out.
 *
 * Answers are not looked at, as each look costs (docs/bench.md). That an upgrade was granted is told by what the client
 * sends then: a frame of a WebSocket has a first byte that no method begins with, or, as clients mask theirs, a second
 * one of 128 or more (RFC 6455 §5.2). Where none was granted, the codec takes no such method and ends the connection.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a connection is in its requests; all of it 0 at its begin. */
struct lines {
  uint64_t length; /* what is left of a body or a chunk */
  uint8_t state;
  uint8_t flags;
  uint8_t candidate; /* the header that this line may yet be, of those that say something of the body */
  uint8_t seen;      /* letters of its name, or of HTTP/2's preface, so far */
};

/* Return how many of the next `size` bytes are of a body, a chunk or another protocol: they need not be looked at. */
size_t lines_skip(struct lines *lines, size_t size);

/* Take the next bytes of a connection. Return the place of the first that no line may hold, or `size`. The caller puts
 * a NUL there, which the codec answers with 400; all that comes behind is passed over then. */
__attribute__((visibility("default"))) /* for a test */
size_t lines_look(struct lines *lines, const uint8_t *bytes, size_t size);
