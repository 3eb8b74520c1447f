#include "http1_lines.h"

enum state {
  NEW,       /* before the first byte of a connection, or in HTTP/2's preface */
  START,     /* before a request */
  START_CR,  /* an empty line before a request */
  FIRST,     /* in the request line */
  LINE,      /* at the first byte of a header line */
  HEADER,    /* in a header line */
  LINE_CR,   /* after the CR of a line */
  END_CR,    /* after the CR of the empty line */
  SIZE,      /* in a chunk's size */
  EXTENSION, /* after a chunk's size */
  SIZE_CR,
  CHUNK_END, /* at the CR after a chunk */
  CHUNK_CR,
  BODY,   /* in a body of known length */
  CHUNK,  /* in a chunk */
  OPAQUE, /* HTTP/2, another protocol after an upgrade, or refused */
};

enum flag {
  CHUNKED = 1,
  TRAILERS = 2,
  UPGRADE = 4, /* asked for at some time on this connection */
  SECOND = 8,  /* the next byte is the second of a request, or of what was upgraded to */
};

enum candidate { NONE, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE_TO };

static const char NAMES[][20] = {"", "content-length:", "transfer-encoding:", "upgrade:"};
static const char PREFACE[] = "PRI * HTTP/2";

static void begin(struct lines *lines) {
  lines->flags &= UPGRADE;
  lines->length = 0;
  lines->state = START;
}

static void end_of_headers(struct lines *lines) {
  if (!(lines->flags & TRAILERS) && lines->flags & CHUNKED) {
    lines->length = 0;
    lines->state = SIZE;
  } else if (!(lines->flags & TRAILERS) && lines->length) {
    lines->state = BODY;
  } else {
    begin(lines);
  }
}

static bool is_digit(uint8_t byte) { return (uint8_t)(byte - '0') < 10; }

static uint8_t lower(uint8_t byte) { return (uint8_t)(byte - 'A') < 26 ? byte | 32 : byte; }

/* Return the value of a hexadecimal digit, -1 for everything else. */
static int hexadecimal(uint8_t byte) {
  if (is_digit(byte)) return byte - '0';
  return (uint8_t)(lower(byte) - 'a') < 6 ? lower(byte) - 'a' + 10 : -1;
}

/* Take a byte of a header line: its name, and the value of those that say where the body ends. */
static void header(struct lines *lines, uint8_t byte) {
  uint8_t expected = (uint8_t)NAMES[lines->candidate][lines->seen];
  if (expected && expected != lower(byte)) {
    lines->candidate = NONE;
  } else if (expected) {
    lines->seen++;
    if (byte == ':' && lines->candidate == TRANSFER_ENCODING) lines->flags |= CHUNKED;
    if (byte == ':' && lines->candidate == UPGRADE_TO) lines->flags |= UPGRADE;
  } else if (lines->candidate == CONTENT_LENGTH && is_digit(byte)) {
    lines->length = lines->length * 10 + (uint64_t)(byte - '0');
  }
}

static bool first_of_line(struct lines *lines, uint8_t byte) {
  if (byte == '\n' || byte == ' ' || byte == '\t') return true;
  if (byte == '\r') {
    lines->state = END_CR;
    return false;
  }
  lines->state = HEADER;
  lines->seen = 0;
  lines->candidate = NONE;
  if (!(lines->flags & TRAILERS)) {
    if (lower(byte) == 'c') lines->candidate = CONTENT_LENGTH;
    if (lower(byte) == 't') lines->candidate = TRANSFER_ENCODING;
    if (lower(byte) == 'u') lines->candidate = UPGRADE_TO;
  }
  header(lines, byte);
  return false;
}

static bool first_of_request(struct lines *lines, uint8_t byte) {
  if (byte == '\r') {
    lines->state = START_CR;
    return false;
  }
  if (lines->flags & UPGRADE) {
    if (byte >= 127 || (byte < 33 && byte != '\n')) {
      lines->state = OPAQUE;
      return false;
    }
    lines->flags |= SECOND;
  }
  lines->state = FIRST;
  return byte == '\n';
}

static bool request_line(struct lines *lines, uint8_t byte) {
  if (lines->flags & SECOND) {
    lines->flags ^= SECOND;
    if (byte >= 128) {
      lines->state = OPAQUE;
      return false;
    }
  }
  if (byte == '\r') lines->state = LINE_CR;
  return byte == '\n';
}

/* Take the first bytes of a connection, which are HTTP/2's preface, or the begin of a request line. */
static bool preface(struct lines *lines, uint8_t byte) {
  if (byte == (uint8_t)PREFACE[lines->seen]) {
    if (!PREFACE[++lines->seen]) lines->state = OPAQUE;
    return false;
  }
  lines->state = lines->seen ? FIRST : START;
  return lines->seen ? request_line(lines, byte) : first_of_request(lines, byte);
}

/* Take what comes after a CR: LF, and nothing else. */
static bool line_feed(struct lines *lines, uint8_t byte) {
  if (byte != '\n') return true;
  switch (lines->state) {
  case START_CR:
    lines->state = START;
    break;
  case LINE_CR:
    lines->state = LINE;
    break;
  case END_CR:
    end_of_headers(lines);
    break;
  case CHUNK_CR:
    lines->length = 0;
    lines->state = SIZE;
    break;
  default: /* SIZE_CR */
    if (!lines->length) lines->flags |= TRAILERS;
    lines->state = lines->length ? CHUNK : LINE;
  }
  return false;
}

/* Take a byte of a chunk's size, or behind it. A bare LF there is refused by Envoy, and a NUL would not be. */
static void chunk_size(struct lines *lines, uint8_t byte) {
  int digit = lines->state == SIZE ? hexadecimal(byte) : -1;
  if (digit >= 0) {
    lines->length = (lines->length << 4) + (uint64_t)digit;
  } else {
    lines->state = byte == '\r' ? SIZE_CR : EXTENSION;
  }
}

/* Take one byte; return whether it is one that no line may hold. */
static bool take(struct lines *lines, uint8_t byte) {
  switch (lines->state) {
  case NEW:
    return preface(lines, byte);
  case START:
    return first_of_request(lines, byte);
  case FIRST:
    return request_line(lines, byte);
  case LINE:
    return first_of_line(lines, byte);
  case HEADER:
    if (byte == '\r') lines->state = LINE_CR;
    else if (byte != '\n') header(lines, byte);
    return byte == '\n';
  case SIZE:
  case EXTENSION:
    chunk_size(lines, byte);
    return false;
  case CHUNK_END: /* whatever else stands there Envoy refuses by itself */
    lines->state = CHUNK_CR;
    return byte != '\r';
  default:
    return line_feed(lines, byte);
  }
}

/* Return a word whose lowest bit that is set is in the first byte of `word` that is zero. */
static uint64_t zeros(uint64_t word) {
  return (word - 0x0101010101010101) & ~word & 0x8080808080808080;
}

/* Return the place of the next CR or LF: eight bytes at a time, of which the first is the lowest (little endian). */
static size_t pass(const uint8_t *bytes, size_t at, size_t size) {
  for (uint64_t word; at + sizeof word <= size; at += sizeof word) {
    __builtin_memcpy(&word, bytes + at, sizeof word);
    uint64_t found = zeros(word ^ 0x0d0d0d0d0d0d0d0d) | zeros(word ^ 0x0a0a0a0a0a0a0a0a);
    if (found) return at + ((size_t)__builtin_ctzll(found) >> 3);
  }
  while (at < size && bytes[at] != '\r' && bytes[at] != '\n') at++;
  return at;
}

/* Say whether only the end of this line matters. */
static bool is_dull(const struct lines *lines) {
  return (lines->state == HEADER && !lines->candidate) || (lines->state == FIRST && !(lines->flags & SECOND));
}

size_t lines_skip(struct lines *lines, size_t size) {
  if (lines->state < BODY) return 0;
  if (lines->state == OPAQUE) return size;
  if (lines->length > size) {
    lines->length -= size;
    return size;
  }
  size_t left = (size_t)lines->length;
  if (lines->state == BODY) begin(lines);
  else lines->state = CHUNK_END;
  return left;
}

size_t lines_look(struct lines *lines, const uint8_t *bytes, size_t size) {
  for (size_t at = 0; at < size; at++) {
    at += lines_skip(lines, size - at);
    if (is_dull(lines)) at = pass(bytes, at, size);
    if (at < size && take(lines, bytes[at])) {
      lines->state = OPAQUE;
      return at;
    }
  }
  return size;
}
