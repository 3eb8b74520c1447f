"""What of our configuration an older Envoy, or one that was built with less, does not know: it is left out for it.

An Envoy says in its first request which extensions it has and which version it is (envoy.config.core.v3.Node). What
it does not know it would reject, or, a field of what it gets over xDS, pass over in silence.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.wrappers_pb2 import BoolValue

from legation.mesh.instance import InstanceSpec
from legation.mesh.model.mesh import Mesh
from xds_server.compile.access_log import Written
from xds_server.compile.access_once import ACCESS, DECIDES, KEEPS, RBAC
from xds_server.compile.apart import counts_statuses
from xds_server.compile.http1_lines import is_http1_lines
from xds_server.compile.pack import pack, serialize
from xds_server.compile.unpack import proxies

Version = tuple[int, int]
OLDEST: Version = (1, 36)
"""The oldest Envoy that this is tried with."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that not every Envoy knows: from which version on it does, which extension it takes, what is lost."""

    name: str
    since: Version
    extension: str
    loss: str
    unsaid: bool = True
    """Whether an Envoy that does not say its version has it."""
    until: Version | None = None
    """The last version that has it, where a newer one may be another thing."""

    def is_in(self, version: Version | None) -> bool:
        """Say whether an Envoy of a version has it."""
        if version is None:
            return self.unsaid
        return self.since <= version and (self.until is None or version <= self.until)


HTTP1_LINES = Part(
    "http1_lines",
    OLDEST,
    "envoy.wasm.runtime.v8",
    "bare CR, bare LF and folded lines in HTTP/1 requests are not refused",
)
PLAINTEXT_COUNT = Part(
    "plaintext_count",
    (1, 40),
    "envoy.access_loggers.stats",
    "plain text is not counted by who sends it, nor are requests that callers gave up on, nor are services that share "
    "a port counted apart",
)
SPAN_TAGS = Part(
    "span_tags", (1, 38), "", "spans have Envoy's own names, and say neither who called nor how many tries"
)
OTLP_LOG = Part(
    "otlp_log",
    (1, 40),
    "envoy.access_loggers.open_telemetry",
    "the access log goes to stdout alone, and not to `legation logs`: of requests that go well to its service, which "
    "callers' proxies leave to it, those show nothing without `logging: {mode: client_and_server}`",
)
ACCESS_ONCE = Part(
    "access_once",
    (1, 39),  # before, a header that comes twice is one value to routes, and two to access control
    "envoy.filters.network.set_filter_state",
    "who a peer is is looked at in each request, which takes longer",
    unsaid=False,
)
LINES_MODULE = Part(
    "lines_module",
    (1, 40),
    "envoy.filters.network.dynamic_modules",
    "the lines of HTTP/1 are looked at in WebAssembly, which takes longer",
    unsaid=False,
    until=(1, 40),  # the ABI of modules has no promise yet, and one of another version is loaded with a warning
)
GRPC_CHECKS = Part(
    "grpc_checks",
    (1, 38),
    "",
    "an app is not asked by grpc.health.v1, which ends Envoy 1.36, but whether it takes connections",
)
EACH_ADDRESS = Part(
    "each_address",
    (1, 40),
    "envoy.filters.http.upstream_rbac",
    "`passthrough` denies by a name's first address: by a name with several, an app may reach what is on this host",
)
PARTS = (HTTP1_LINES, PLAINTEXT_COUNT, SPAN_TAGS, OTLP_LOG, ACCESS_ONCE, LINES_MODULE, GRPC_CHECKS, EACH_ADDRESS)


_GRPC_STATS = HttpFilter(
    name="envoy.filters.http.grpc_stats",
    typed_config=pack(GrpcStats(stats_for_all_methods=BoolValue(value=False))),
)
"""What counts calls of gRPC by status where no logger does: under other names, which our queries know as well."""


def lacking(version: Version | None, extensions: Collection[str]) -> tuple[str, ...]:
    """Return the names of the parts that a proxy does not know. One that does not say what it has, has most."""
    return tuple(
        part.name
        for part in PARTS
        if not part.is_in(version) or (part.extension and extensions and part.extension not in extensions)
    )


def losses(lacks: Collection[str]) -> tuple[str, ...]:
    """Return what is lost without these parts, in sentences."""
    return tuple(part.loss for part in PARTS if part.name in lacks)


def written_by(node: InstanceSpec) -> Written:
    """Return how a node writes its access log: what its Envoy cannot send goes to stdout."""
    return Written("stdout" if OTLP_LOG.name in node.lacks else node.log, node.in_environment)


def module_of(mesh: Mesh, node: InstanceSpec) -> str:
    """Return the path of what a node's Envoy loads for the lines of HTTP/1; nothing where it may not, or cannot."""
    return node.lines_module if mesh.dynamic_modules and LINES_MODULE.name not in node.lacks else ""


def leave_out(body: bytes, lacks: Collection[str]) -> bytes:
    """Return a serialised listener without the parts that a proxy lacks."""
    listener = Listener.FromString(body)
    for chain in listener.filter_chains:
        if HTTP1_LINES.name in lacks:
            _drop(chain.filters, is_http1_lines)
        if ACCESS_ONCE.name in lacks:
            _drop(chain.filters, lambda one: one.name in {DECIDES, KEEPS})
    for proxy in proxies(listener):
        if isinstance(proxy, HttpConnectionManager):
            _change(proxy, lacks)
        _drop_logs(proxy.access_log, lacks)
    return serialize(listener)


def _change(manager: HttpConnectionManager, lacks: Collection[str]) -> None:
    if SPAN_TAGS.name in lacks and manager.HasField("tracing"):
        _drop(manager.tracing.custom_tags, lambda tag: tag.HasField("value"))
        manager.tracing.ClearField("operation")
    if PLAINTEXT_COUNT.name in lacks and any(map(counts_statuses, manager.access_log)):
        manager.http_filters.insert(0, _GRPC_STATS)
    if ACCESS_ONCE.name in lacks:
        _keep_access(manager)


def _keep_access(manager: HttpConnectionManager) -> None:
    """Have no route turn access control off: an Envoy that passes over a row's condition would do so for everybody."""
    for one in manager.http_filters:
        if one.name == ACCESS:
            one.name = RBAC


def _drop_logs(logs: Any, lacks: Collection[str]) -> None:
    unknown = {part.extension for part in (PLAINTEXT_COUNT, OTLP_LOG) if part.name in lacks}
    _drop(logs, lambda log: log.name in unknown)


def _drop(field: Any, unwanted: Callable[[Any], bool]) -> None:
    """Take some out of a repeated field."""
    kept = [one for one in field if not unwanted(one)]
    del field[:]
    field.extend(kept)
