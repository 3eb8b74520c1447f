"""The filter in front of every HTTP connection manager: bare CR, bare LF and folded lines in HTTP/1 are refused.

Envoy's codec takes them in silence and has no option against it; an app, or a proxy in front of us, may
read other headers than it did (RFC 9112 §2.2, §5.2). http1_lines.wat says how the filter works.
"""

from envoy.config.core.v3.base_pb2 import AsyncDataSource, DataSource
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm
from envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy, PluginConfig, VmConfig

from xds_server.compile.http1_wasm import WASM
from xds_server.compile.pack import pack

_NAME = "legation.http1_lines"


def http1_lines() -> Filter:
    """Return the filter. All listeners of a proxy share its machine: one a worker thread."""
    vm = VmConfig(
        vm_id=_NAME,
        runtime="envoy.wasm.runtime.v8",
        code=AsyncDataSource(local=DataSource(inline_bytes=WASM)),
    )
    plugin = PluginConfig(name=_NAME, vm_config=vm, failure_policy=FailurePolicy.FAIL_RELOAD)
    return Filter(name="envoy.filters.network.wasm", typed_config=pack(Wasm(config=plugin)))
