"""http1_lines.c, run by itself as Envoy would: which bytes it takes for the end of a line, however requests are cut."""

import ctypes
import os
from typing import Any, Protocol

import modules
import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from legation.sidecar.modules import lines_module
from xds_server.compile.http1_wasm import WASM

OK, DOWNSTREAM = 0, 2


class Machine(Protocol):
    """The filter of some connections, each of which has a number; `passed` is what goes on to the codec."""

    def open(self, context: int) -> None: ...

    def close(self, context: int) -> None: ...

    def passed(self, context: int, data: bytes) -> bytes: ...


class Wasm:
    """The filter as Envoy hosts WebAssembly."""

    def __init__(self) -> None:
        engine = wasmtime.Engine()
        self.store, self.buffer = wasmtime.Store(engine), b""
        i32 = wasmtime.ValType.i32()
        kind = wasmtime.FuncType([i32] * 5, [i32])
        imports = [wasmtime.Func(self.store, kind, host) for host in (self._get, self._set)]
        self._exports = wasmtime.Instance(self.store, wasmtime.Module(engine, WASM), imports).exports(self.store)

    def call(self, name: str, *args: int) -> Any:
        function: Any = self._exports[name]
        return function(self.store, *args)

    def open(self, context: int) -> None:
        self.call("proxy_on_new_connection", context)

    def close(self, context: int) -> None:
        self.call("proxy_on_delete", context)

    def passed(self, context: int, data: bytes) -> bytes:
        self.buffer = data
        self.call("proxy_on_downstream_data", context, len(data), 0)
        return self.buffer

    def _get(self, _: int, start: int, most: int, where: int, size: int) -> int:
        data = self.buffer[start : start + most]
        at = self.call("proxy_on_memory_allocate", len(data))
        memory = self._exports["memory"]
        memory.write(self.store, data, at)
        memory.write(self.store, at.to_bytes(4, "little"), where)
        memory.write(self.store, len(data).to_bytes(4, "little"), size)
        return OK

    def _set(self, _: int, start: int, size: int, at: int, length: int) -> int:
        assert (start, size) == (0, len(self.buffer)), "Envoy replaces a buffer as a whole"
        self.buffer = bytes(self._exports["memory"].read(self.store, at, at + length))
        return OK


class Native:
    """The module that Envoy loads, without an Envoy around it: what it does with the bytes of a connection."""

    def __init__(self) -> None:
        self._look = ctypes.CDLL(lines_module()).lines_look
        self._look.restype, self._look.argtypes = ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self._connections: dict[int, Any] = {}

    def open(self, context: int) -> None:
        self._connections[context] = ctypes.create_string_buffer(16)  # struct lines

    def close(self, context: int) -> None:
        self._connections.pop(context, None)

    def passed(self, context: int, data: bytes) -> bytes:
        wrong = self._look(self._connections[context], data, len(data))
        return data if wrong == len(data) else data[:wrong] + b"\0" + data[wrong + 1 :]


HEAD = b"GET /a HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"TE: trailers\r\nTransfer-Encoding: chunked\r\n"
GOOD = {
    "a request": HEAD + b"\r\n",
    "an empty line before it": b"\r\n" + HEAD + b"\r\n",
    "one after the other": HEAD + b"\r\n" + HEAD + b"X-A: b\r\n\r\n",
    "a body that looks like anything": POST + b"Content-Length: 9\r\n\r\na\n b\rc\r\nd" + HEAD + b"\r\n",
    "a length in odd letters": POST + b"cOnTENT-lEnGTH:  3 \r\n\r\n\n\n\n" + HEAD + b"\r\n",
    "a header that begins like a length": POST + b"Content-Lengths: 3\r\nContent: 3\r\n\r\n" + HEAD + b"\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\nB;x=y\r\n\n\r\n 345678\n\r\n0\r\n\r\n" + HEAD + b"\r\n",
    "a chunk of two digits": CHUNKED + b"\r\n1f\r\n" + b"\n" * 31 + b"\r\n0\r\n\r\n" + HEAD + b"\r\n",
    "trailers": CHUNKED + b"\r\n1\r\n\n\r\n0\r\nContent-Length: 5\r\n\r\n" + HEAD + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\n\r\n \n",
}
BAD = {
    "a bare LF in a header": (HEAD + b"X-A: b", b"\nX-B: c\r\n\r\n"),
    "a bare CR in a header": (HEAD + b"X-A: b\r", b"X-B: c\r\n\r\n"),
    "a bare LF after the request line": (b"GET / HTTP/1.1", b"\nHost: a\r\n\r\n"),
    "a bare CR in the request line": (b"GET /\r", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a folded line": (HEAD + b"X-A: b\r\n", b" c\r\n\r\n"),
    "a line folded by a tab": (HEAD + b"X-A: b\r\n", b"\tc\r\n\r\n"),
    "a folded first line": (b"GET / HTTP/1.1\r\n", b" Host: a\r\n\r\n"),
    "an empty line that is bare": (HEAD, b"\n"),
    "an empty line of CRs": (HEAD + b"\r", b"\r\n"),
    "in the second request": (HEAD + b"\r\n" + HEAD + b"X", b"\n: a\r\n\r\n"),
    "behind a body": (POST + b"Content-Length: 2\r\n\r\n\n\n" + HEAD + b"X", b"\n: a\r\n\r\n"),
    "behind chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n\n\n\r\n0\r\n\r\n" + HEAD, b"\n"),
    "in a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b", b"\nC: d\r\n\r\n"),
    "before a request": (b"", b"\n" + HEAD),
    "behind what begins as HTTP/2 does": (b"PRI * HTTP/1.1", b"\nHost: a\r\n\r\n"),
    "behind a chunk that goes on": (CHUNKED + b"\r\n2\r\n\n\n", b"\n\r\n0\r\n\r\n"),
    "in a long body's headers": (HEAD + b"Content-Length: 999999999999\r\nA: b", b"\n\r\n"),
}
PLACES = st.lists(st.integers(0, 200), max_size=6)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [part for a, b in zip([0, *ends], ends, strict=False) if (part := data[a:b])]


@pytest.fixture(scope="module", params=[Wasm, Native])
def machine(request: pytest.FixtureRequest) -> Machine:
    if request.param is Native and not lines_module():
        pytest.skip("no module was made for this kind of machine")
    made: Machine = request.param()
    return made


def through(machine: Machine, data: bytes, places: list[int], context: int = 7) -> bytes:
    machine.open(context)
    try:
        return b"".join(machine.passed(context, part) for part in cut(data, places))
    finally:
        machine.close(context)


def test_what_envoys_load_is_what_its_source_says():
    if not modules.compiler().exists() and os.environ.get("CI") != "true":
        pytest.skip("no compiler of modules here: make zig fetches it")
    assert {file.name for file, content in modules.built().items() if file.read_bytes() != content} == set(), (
        "make modules"
    )


@pytest.mark.parametrize("name", GOOD)
@given(places=PLACES)
def test_what_is_right_passes_unchanged(machine, name, places):
    assert through(machine, GOOD[name], places) == GOOD[name]


@pytest.mark.parametrize("name", BAD)
@given(places=PLACES)
def test_the_first_wrong_byte_becomes_nul(machine, name, places):
    before, after = BAD[name]
    assert through(machine, before + after, places) == before + b"\0" + after[1:]


@pytest.mark.parametrize("wrong", [b"\n", b"\r"])
@pytest.mark.parametrize("before", range(17))
def test_a_wrong_byte_is_found_at_every_place_of_a_word(machine, wrong, before):
    data = HEAD + b"X-A: " + b"b" * before + wrong + b"c" * 17 + b"\r\n\r\n"
    at = data.index(wrong + b"c") + (wrong == b"\r")  # what follows a CR is the wrong byte, not the CR
    assert through(machine, data, []) == data[:at] + b"\0" + data[at + 1 :]


UPGRADE = HEAD + b"Upgrade: websocket\r\n\r\n"
FRAMES = [b"\x81", b"\x82", b"\x01", b"\x89", b"\xc1", b"\x41\x8a", b"\x42\xfe"]
"""How a client's first frame begins: whole, fragmented, compressed and both, the length with the bit of a mask."""


@pytest.mark.parametrize("frame", FRAMES)
@given(places=PLACES)
def test_what_follows_an_upgrade_is_another_protocol(machine, frame, places):
    data = HEAD + b"\r\n" + UPGRADE + frame + b"\n\n\r\r\n A\n"
    assert through(machine, data, places) == data


@given(places=PLACES)
def test_an_upgrade_that_was_refused_changes_nothing(machine, places):
    data = UPGRADE + HEAD + b"\r\n" + b"\r\nGET / HTTP/1.1"
    assert through(machine, data + b"\n", places) == data + b"\0"


@pytest.mark.parametrize("frame", FRAMES)
def test_nothing_looks_like_another_protocol_where_no_upgrade_was_asked_for(machine, frame):
    assert through(machine, HEAD + b"\r\n" + frame + b"\n", []) == HEAD + b"\r\n" + frame + b"\0"


PIECES = [
    b"\r\n", b"\r\n\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b"\x0b", b"\x8a", b"\x8d", b":", b"7", b"c", b"co", b"t",
    b"tr", b"u", b"up", HEAD, CHUNKED, b"GET /aaaaaaaaaaaaa HTTP/1.1", b"Content-Length: 3", b"content-length:9",
    b"transfer-encoding: chunked", b"upgrade: x", b"x-a: bbbbbbbbbbbbbbbb", b"0\r\n", b"3\r\nabc\r\n", b"\x81\x8a",
    b"x" * 17,
]  # fmt: skip


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=24), places=PLACES, begun=st.booleans())
def test_a_piece_at_once_is_as_a_byte_at_a_time(machine, pieces, places, begun):
    """It goes over most lines by words of eight bytes; a byte alone is never part of one."""
    data = (HEAD if begun else b"G") + b"".join(pieces)
    expected = through(machine, data, list(range(len(data))))
    assert through(machine, data, places) == expected


def test_connections_do_not_meet(machine):
    """Their ids go up for ever; two that are 65,536 apart share a place in the table."""
    contexts = [7, 7 + 65536, 8, 7 + 2 * 65536]
    for context in contexts:
        machine.open(context)
        machine.passed(context, HEAD + b"X-A: b" + (b"\r" if context == 7 else b""))
    assert [machine.passed(c, b"\n")[0] for c in contexts] == [10, 0, 0, 0]
    for context in (*contexts, 99):
        machine.close(context)


def test_a_large_piece_is_looked_at_whole(machine):
    """More than the memory that the module begins with."""
    data = HEAD + b"X-A: " + b"x" * 300_000 + b"\n"
    assert through(machine, data, []) == data[:-1] + b"\0"
