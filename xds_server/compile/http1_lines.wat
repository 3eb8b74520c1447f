;; Watches the lines of HTTP/1 requests before Envoy's codec, which takes bare CR, bare LF and folded lines in silence.
;; The first such byte becomes NUL, which the codec answers with 400 (RFC 9112 §2.2, §5.2).
;;
;; Answers are not looked at, as each look costs (docs/bench.md). That an upgrade was granted is told by what the client
;; sends then: a frame of a WebSocket has a first byte that no method begins with, or, as clients mask theirs, a second
;; one of 128 or more (RFC 6455 §5.2). Where none was granted, the codec takes no such method and ends the connection.
;;
;; A proxy-wasm network filter (ABI 0.2.1). One record of 16 bytes a connection, by its context id:
;;   0 u32 context id, 0: free    4 u8 state    5 u8 flags    6 u8 candidate header    7 u8 bytes of it seen
;;   8 i64 length: of a body, of a chunk
;;
;; In a line of which only the end matters, FIRST stands for HEADER too.
(module
  (import "env" "proxy_get_buffer_bytes" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))

  (memory (export "memory") 18)
  ;; page 0: constants and results; pages 1 to 16: 65,536 records; from page 17 on: the bytes that we look at
  (data (i32.const 64) "content-length:")
  (data (i32.const 96) "transfer-encoding:")
  (data (i32.const 128) "upgrade:")
  (data (i32.const 160) "PRI * HTTP/2")
  (global $records i32 (i32.const 65536))
  (global $bytes i32 (i32.const 1114112))

  ;; states
  (global $NEW i32 (i32.const 0))          ;; before the first byte of a connection
  (global $START i32 (i32.const 1))        ;; before a request
  (global $START_CR i32 (i32.const 2))     ;; an empty line before a request
  (global $FIRST i32 (i32.const 3))        ;; in the request line
  (global $LINE i32 (i32.const 4))         ;; at the first byte of a header line
  (global $HEADER i32 (i32.const 5))       ;; in a header line
  (global $LINE_CR i32 (i32.const 6))      ;; after the CR of a line
  (global $END_CR i32 (i32.const 7))       ;; after the CR of the empty line
  (global $BODY i32 (i32.const 8))         ;; in a body of known length
  (global $SIZE i32 (i32.const 9))         ;; in a chunk's size
  (global $EXTENSION i32 (i32.const 10))   ;; after a chunk's size
  (global $SIZE_CR i32 (i32.const 11))
  (global $CHUNK i32 (i32.const 12))       ;; in a chunk
  (global $CHUNK_END i32 (i32.const 13))   ;; at the CR after a chunk
  (global $CHUNK_CR i32 (i32.const 14))
  (global $OPAQUE i32 (i32.const 15))      ;; HTTP/2, or another protocol after an upgrade
  ;; flags
  (global $CHUNKED i32 (i32.const 1))
  (global $TRAILERS i32 (i32.const 2))
  (global $UPGRADE i32 (i32.const 4))      ;; asked for at some time on this connection
  (global $SECOND i32 (i32.const 8))       ;; the next byte is the second of a request, or of what was upgraded to

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))

  ;; Envoy takes memory for each buffer that it hands over; one place serves, as each is done with before the next.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $short i32)
    (local.set $short (i32.sub (i32.add (global.get $bytes) (local.get $size)) (i32.shl (memory.size) (i32.const 16))))
    (if (i32.gt_s (local.get $short) (i32.const 0))
      (then
        (if (i32.eq (i32.const -1) (memory.grow (i32.shr_u (i32.add (local.get $short) (i32.const 65535)) (i32.const 16))))
          (then (return (i32.const 0))))))
    (global.get $bytes))

  ;; Return the record of a context, or the first free one (key 0) from its place on. There are more than connections.
  (func $record (param $key i32) (param $context i32) (result i32)
    (local $at i32) (local $left i32)
    (local.set $at (local.get $context))
    (local.set $left (i32.const 65536))
    (loop $next
      (local.set $at (i32.and (local.get $at) (i32.const 65535)))
      (if (i32.eq (local.get $key) (i32.load (i32.add (global.get $records) (i32.shl (local.get $at) (i32.const 4)))))
        (then (return (i32.add (global.get $records) (i32.shl (local.get $at) (i32.const 4))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left)))
    unreachable)

  (func (export "proxy_on_new_connection") (param $context i32) (result i32)
    (local $r i32)
    (local.set $r (call $record (i32.const 0) (local.get $context)))
    (i32.store (local.get $r) (local.get $context))
    (i32.store offset=4 (local.get $r) (i32.const 0))
    (i64.store offset=8 (local.get $r) (i64.const 0))
    (i32.const 0))

  (func (export "proxy_on_delete") (param $context i32)
    (local $at i32)
    (local.set $at (i32.add (global.get $records) (i32.shl (i32.and (local.get $context) (i32.const 65535)) (i32.const 4))))
    ;; root contexts and connections that never came so far have none
    (if (i32.ne (i32.load (local.get $at)) (local.get $context))
      (then (local.set $at (call $find (local.get $context)))))
    (if (local.get $at) (then (i32.store (local.get $at) (i32.const 0)))))

  ;; Return the record of a context, 0 where there is none.
  (func $find (param $context i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $records))
    (loop $next
      (if (i32.eq (local.get $context) (i32.load (local.get $at))) (then (return (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $at) (global.get $bytes))))
    (i32.const 0))

  ;; Say whether `length` bytes at two places are equal.
  (func $equal (param $a i32) (param $b i32) (param $length i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $length)) (then (return (i32.const 1))))
      (if (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))) (then (return (i32.const 0))))
      (local.set $a (i32.add (local.get $a) (i32.const 1)))
      (local.set $b (i32.add (local.get $b) (i32.const 1)))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br $next))
    unreachable)

  (func $goto (param $r i32) (param $state i32) (i32.store8 offset=4 (local.get $r) (local.get $state)))
  (func $flag (param $r i32) (param $flag i32)
    (i32.store8 offset=5 (local.get $r) (i32.or (i32.load8_u offset=5 (local.get $r)) (local.get $flag))))
  (func $has (param $r i32) (param $flag i32) (result i32)
    (i32.and (i32.load8_u offset=5 (local.get $r)) (local.get $flag)))

  ;; What comes after the empty line: a body, chunks, or the next request.
  (func $end_of_headers (param $r i32)
    (if (call $has (local.get $r) (global.get $TRAILERS)) (then (call $begin (local.get $r)) (return)))
    (if (call $has (local.get $r) (global.get $CHUNKED))
      (then (i64.store offset=8 (local.get $r) (i64.const 0)) (call $goto (local.get $r) (global.get $SIZE)) (return)))
    (if (i64.eqz (i64.load offset=8 (local.get $r))) (then (call $begin (local.get $r)) (return)))
    (call $goto (local.get $r) (global.get $BODY)))

  (func $begin (param $r i32)
    (i32.store8 offset=5 (local.get $r) (call $has (local.get $r) (global.get $UPGRADE)))
    (i64.store offset=8 (local.get $r) (i64.const 0))
    (call $goto (local.get $r) (global.get $START)))

  ;; Take a byte of a header line: its name, and the value of those that say where the body ends.
  (func $header (param $r i32) (param $byte i32)
    (local $candidate i32) (local $seen i32) (local $expected i32)
    (local.set $candidate (i32.load8_u offset=6 (local.get $r)))
    (if (i32.eqz (local.get $candidate)) (then (return)))
    (local.set $seen (i32.load8_u offset=7 (local.get $r)))
    (local.set $expected
      (i32.load8_u (i32.add (i32.add (i32.const 32) (i32.shl (local.get $candidate) (i32.const 5))) (local.get $seen))))
    (if (local.get $expected)
      (then
        (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 65)) (i32.const 26))
          (then (local.set $byte (i32.or (local.get $byte) (i32.const 32)))))
        (if (i32.ne (local.get $expected) (local.get $byte))
          (then (i32.store8 offset=6 (local.get $r) (i32.const 0)) (return)))
        (i32.store8 offset=7 (local.get $r) (i32.add (local.get $seen) (i32.const 1)))
        (if (i32.ne (local.get $byte) (i32.const 58)) (then (return)))
        (if (i32.eq (local.get $candidate) (i32.const 2)) (then (call $flag (local.get $r) (global.get $CHUNKED))))
        (if (i32.eq (local.get $candidate) (i32.const 3)) (then (call $flag (local.get $r) (global.get $UPGRADE))))
        (return)))
    (if (i32.ne (local.get $candidate) (i32.const 1)) (then (return)))
    (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 48)) (i32.const 10))
      (then
        (i64.store offset=8 (local.get $r)
          (i64.add (i64.mul (i64.load offset=8 (local.get $r)) (i64.const 10))
            (i64.extend_i32_u (i32.sub (local.get $byte) (i32.const 48))))))))

  ;; Return the value of a hexadecimal digit, -1 for everything else.
  (func $digit (param $byte i32) (result i32)
    (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 48)) (i32.const 10))
      (then (return (i32.sub (local.get $byte) (i32.const 48)))))
    (local.set $byte (i32.or (local.get $byte) (i32.const 32)))
    (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 97)) (i32.const 6))
      (then (return (i32.sub (local.get $byte) (i32.const 87)))))
    (i32.const -1))

  ;; Take one byte; return 1 where it is one that no line may hold.
  (func $take (param $r i32) (param $byte i32) (result i32)
    (local $state i32) (local $digit i32)
    (local.set $state (i32.load8_u offset=4 (local.get $r)))
    (block $strict_lf
    (block $chunk_end (block $extension (block $size (block $line (block $first (block $start (block $header
      (br_table $start $start $strict_lf $first $line $header $strict_lf $strict_lf
                $chunk_end $size $extension $strict_lf $chunk_end $chunk_end $strict_lf $chunk_end (local.get $state)))
      ;; HEADER
      (if (i32.eq (local.get $byte) (i32.const 13)) (then (call $goto (local.get $r) (global.get $LINE_CR)) (return (i32.const 0))))
      (if (i32.eq (local.get $byte) (i32.const 10)) (then (return (i32.const 1))))
      (call $header (local.get $r) (local.get $byte))
      (return (i32.const 0)))
      ;; NEW, START
      (if (i32.eq (local.get $byte) (i32.const 13)) (then (call $goto (local.get $r) (global.get $START_CR)) (return (i32.const 0))))
      (if (call $has (local.get $r) (global.get $UPGRADE))
        (then
          (if (i32.or (i32.ge_u (local.get $byte) (i32.const 127))
                (i32.and (i32.lt_u (local.get $byte) (i32.const 33)) (i32.ne (local.get $byte) (i32.const 10))))
            (then (call $goto (local.get $r) (global.get $OPAQUE)) (return (i32.const 0))))
          (call $flag (local.get $r) (global.get $SECOND))))
      (call $goto (local.get $r) (global.get $FIRST))
      (return (i32.eq (local.get $byte) (i32.const 10))))
      ;; FIRST
      (if (call $has (local.get $r) (global.get $SECOND))
        (then
          (i32.store8 offset=5 (local.get $r) (i32.xor (i32.load8_u offset=5 (local.get $r)) (global.get $SECOND)))
          (if (i32.ge_u (local.get $byte) (i32.const 128))
            (then (call $goto (local.get $r) (global.get $OPAQUE)) (return (i32.const 0))))))
      (if (i32.eq (local.get $byte) (i32.const 13)) (then (call $goto (local.get $r) (global.get $LINE_CR))))
      (return (i32.eq (local.get $byte) (i32.const 10))))
      ;; LINE
      (if (i32.eq (local.get $byte) (i32.const 13)) (then (call $goto (local.get $r) (global.get $END_CR)) (return (i32.const 0))))
      (if (i32.or (i32.eq (local.get $byte) (i32.const 10))
            (i32.or (i32.eq (local.get $byte) (i32.const 32)) (i32.eq (local.get $byte) (i32.const 9))))
        (then (return (i32.const 1))))
      (call $goto (local.get $r) (global.get $HEADER))
      (i32.store8 offset=7 (local.get $r) (i32.const 0))
      (local.set $digit (i32.or (local.get $byte) (i32.const 32)))
      (i32.store8 offset=6 (local.get $r)
        (if (result i32) (call $has (local.get $r) (global.get $TRAILERS)) (then (i32.const 0))
          (else (i32.add (i32.eq (local.get $digit) (i32.const 99))
            (i32.add (i32.shl (i32.eq (local.get $digit) (i32.const 116)) (i32.const 1))
              (i32.mul (i32.eq (local.get $digit) (i32.const 117)) (i32.const 3)))))))
      (call $header (local.get $r) (local.get $byte))
      (return (i32.const 0)))
      ;; SIZE
      (local.set $digit (call $digit (local.get $byte)))
      (if (i32.ge_s (local.get $digit) (i32.const 0))
        (then
          (i64.store offset=8 (local.get $r)
            (i64.add (i64.shl (i64.load offset=8 (local.get $r)) (i64.const 4)) (i64.extend_i32_u (local.get $digit))))
          (return (i32.const 0)))))
      ;; EXTENSION, and what ends a size; a bare LF is refused by Envoy, and a NUL would not be
      (call $goto (local.get $r) (global.get $EXTENSION))
      (if (i32.eq (local.get $byte) (i32.const 13)) (then (call $goto (local.get $r) (global.get $SIZE_CR))))
      (return (i32.const 0)))
      ;; CHUNK_END: the CR after a chunk; whatever else stands there Envoy refuses by itself
      (call $goto (local.get $r) (global.get $CHUNK_CR))
      (return (i32.ne (local.get $byte) (i32.const 13))))
    ;; after a CR: LF, and nothing else
    (if (i32.ne (local.get $byte) (i32.const 10)) (then (return (i32.const 1))))
    (if (i32.eq (local.get $state) (global.get $START_CR)) (then (call $goto (local.get $r) (global.get $START)) (return (i32.const 0))))
    (if (i32.eq (local.get $state) (global.get $LINE_CR)) (then (call $goto (local.get $r) (global.get $LINE)) (return (i32.const 0))))
    (if (i32.eq (local.get $state) (global.get $END_CR)) (then (call $end_of_headers (local.get $r)) (return (i32.const 0))))
    (if (i32.eq (local.get $state) (global.get $CHUNK_CR))
      (then (i64.store offset=8 (local.get $r) (i64.const 0)) (call $goto (local.get $r) (global.get $SIZE)) (return (i32.const 0))))
    ;; SIZE_CR
    (if (i64.eqz (i64.load offset=8 (local.get $r)))
      (then (call $flag (local.get $r) (global.get $TRAILERS)) (call $goto (local.get $r) (global.get $LINE)))
      (else (call $goto (local.get $r) (global.get $CHUNK))))
    (i32.const 0))

  ;; Pass over lines of which only the ends matter: the request line, and headers that say nothing of the body. Return
  ;; where the machine goes on: at an end that is none, at the first byte of a line that matters, or near to `end`.
  (func $pass (param $r i32) (param $at i32) (param $end i32) (result i32)
    (local $word i64) (local $four i32)
    (loop $line
      ;; to the next CR or LF, a word at a time: a byte that is zero has a borrow in its highest bit, and no byte below
      (block $found
        (loop $scan
          (if (i32.le_u (i32.add (local.get $at) (i32.const 8)) (local.get $end))
            (then
              (local.set $word (i64.load (local.get $at)))
              (local.set $word
                (i64.and (i64.const 0x8080808080808080)
                  (i64.or
                    (call $zeros (i64.xor (local.get $word) (i64.const 0x0d0d0d0d0d0d0d0d)))
                    (call $zeros (i64.xor (local.get $word) (i64.const 0x0a0a0a0a0a0a0a0a))))))
              (if (i64.eqz (local.get $word))
                (then
                  (local.set $at (i32.add (local.get $at) (i32.const 8)))
                  (br $scan)))
              (local.set $at
                (i32.add (local.get $at) (i32.shr_u (i32.wrap_i64 (i64.ctz (local.get $word))) (i32.const 3))))
              (br $found))))
        (loop $last
          (br_if $found (i32.ge_u (local.get $at) (local.get $end)))
          (local.set $four (i32.load8_u (local.get $at)))
          (br_if $found
            (i32.or (i32.eq (local.get $four) (i32.const 13)) (i32.eq (local.get $four) (i32.const 10))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $last)))
      (if (i32.gt_u (i32.add (local.get $at) (i32.const 4)) (local.get $end)) (then (return (local.get $at))))
      (local.set $four (i32.load (local.get $at)))
      (if (i32.ne (i32.and (local.get $four) (i32.const 0xffff)) (i32.const 0x0a0d)) (then (return (local.get $at))))
      (local.set $four (i32.shr_u (local.get $four) (i32.const 16)))
      ;; the line that follows: empty, folded, or one that begins with co, tr or up
      (if (i32.lt_u (i32.and (local.get $four) (i32.const 0xff)) (i32.const 33))
        (then (return (call $at_line (local.get $r) (local.get $at)))))
      (local.set $four (i32.and (local.get $four) (i32.const 0xdfdf)))
      (if (i32.or (i32.eq (local.get $four) (i32.const 0x4f43))
            (i32.or (i32.eq (local.get $four) (i32.const 0x5254)) (i32.eq (local.get $four) (i32.const 0x5055))))
        (then (return (call $at_line (local.get $r) (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 3)))
      (br $line))
    unreachable)

  (func $zeros (param $word i64) (result i64)
    (i64.and (i64.sub (local.get $word) (i64.const 0x0101010101010101)) (i64.xor (local.get $word) (i64.const -1))))

  ;; Go to the line that begins behind the CR LF at `at`; return where that is.
  (func $at_line (param $r i32) (param $at i32) (result i32)
    (call $goto (local.get $r) (global.get $LINE))
    (i32.add (local.get $at) (i32.const 2)))

  ;; Skip what is left of a body or a chunk; return how many of `size` bytes that takes.
  (func $skip (param $r i32) (param $size i32) (result i32)
    (local $state i32) (local $left i64)
    (local.set $state (i32.load8_u offset=4 (local.get $r)))
    (if (i32.eq (local.get $state) (global.get $OPAQUE)) (then (return (local.get $size))))
    (if (i32.and (i32.ne (local.get $state) (global.get $BODY)) (i32.ne (local.get $state) (global.get $CHUNK)))
      (then (return (i32.const 0))))
    (local.set $left (i64.load offset=8 (local.get $r)))
    (if (i64.gt_u (local.get $left) (i64.extend_i32_u (local.get $size)))
      (then
        (i64.store offset=8 (local.get $r) (i64.sub (local.get $left) (i64.extend_i32_u (local.get $size))))
        (return (local.get $size))))
    (if (i32.eq (local.get $state) (global.get $BODY))
      (then (call $begin (local.get $r)))
      (else (call $goto (local.get $r) (global.get $CHUNK_END))))
    (i32.wrap_i64 (local.get $left)))

  ;; Fetch `size` bytes from the client to `$bytes`; return how many came.
  (func $fetch (param $size i32) (result i32)
    (if (call $get (i32.const 2) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4))
      (then (return (i32.const 0))))
    (i32.load (i32.const 4)))

  (func (export "proxy_on_downstream_data") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (local $r i32) (local $at i32) (local $got i32) (local $state i32)
    (local.set $r (call $record (local.get $context) (local.get $context)))
    (local.set $at (call $skip (local.get $r) (local.get $size)))
    (if (i32.ge_u (local.get $at) (local.get $size)) (then (return (i32.const 0))))
    (local.set $got (call $fetch (local.get $size)))
    (if (i32.and (i32.eqz (i32.load8_u offset=4 (local.get $r))) (i32.ge_u (local.get $got) (i32.const 12)))
      (then
        (if (call $equal (global.get $bytes) (i32.const 160) (i32.const 12))
          (then (call $goto (local.get $r) (global.get $OPAQUE)) (return (i32.const 0))))))
    (loop $next
      (local.set $state (i32.load8_u offset=4 (local.get $r)))
      (if (i32.ge_u (local.get $state) (global.get $BODY))
        (then
          (local.set $at (i32.add (local.get $at) (call $skip (local.get $r) (i32.sub (local.get $got) (local.get $at)))))))
      (if (i32.or
            (i32.and (i32.eq (local.get $state) (global.get $HEADER)) (i32.eqz (i32.load8_u offset=6 (local.get $r))))
            (i32.and (i32.eq (local.get $state) (global.get $FIRST))
              (i32.eqz (call $has (local.get $r) (global.get $SECOND)))))
        (then
          (local.set $at
            (i32.sub
              (call $pass (local.get $r)
                (i32.add (global.get $bytes) (local.get $at)) (i32.add (global.get $bytes) (local.get $got)))
              (global.get $bytes)))))
      (if (i32.ge_u (local.get $at) (local.get $got)) (then (return (i32.const 0))))
      (if (call $take (local.get $r) (i32.load8_u (i32.add (global.get $bytes) (local.get $at))))
        (then
          (i32.store8 (i32.add (global.get $bytes) (local.get $at)) (i32.const 0))
          (drop (call $set (i32.const 2) (i32.const 0) (local.get $got) (global.get $bytes) (local.get $got)))
          ;; Envoy answers and closes: nothing after this byte is a request
          (call $goto (local.get $r) (global.get $OPAQUE))
          (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next))
    unreachable))
