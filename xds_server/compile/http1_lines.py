"""The filter in front of every HTTP connection manager: bare CR, bare LF and folded lines in HTTP/1 are refused.

Envoy's codec takes them in silence and has no option against it; an app, or a proxy in front of us, may
read other headers than it did (RFC 9112 §2.2, §5.2). legation/sidecar/modules/http1_lines.c does it. Envoy runs it as
WebAssembly, which comes with the filter, or loads it from its host, where it has a module of that
(docs/decisions/029-native-code-for-lines.md).
"""

from envoy.config.core.v3.base_pb2 import AsyncDataSource, DataSource
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm
from envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy, PluginConfig, VmConfig
from xds.type.v3.typed_struct_pb2 import TypedStruct

from xds_server.compile.http1_wasm import WASM
from xds_server.compile.pack import pack

_NAME, _IN_WASM = "legation.http1_lines", "envoy.filters.network.wasm"
_CONFIG = "type.googleapis.com/envoy.extensions.filters.network.dynamic_modules.v3.DynamicModuleNetworkFilter"


def http1_lines(module: str = "") -> Filter:
    """Return the filter: as the module of this path, where there is one, else as WebAssembly.

    All listeners of a proxy share the machine of that: one a worker thread.
    """
    if module:
        return _loaded(module)
    vm = VmConfig(
        vm_id=_NAME,
        runtime="envoy.wasm.runtime.v8",
        code=AsyncDataSource(local=DataSource(inline_bytes=WASM)),
    )
    plugin = PluginConfig(name=_NAME, vm_config=vm, failure_policy=FailurePolicy.FAIL_RELOAD)
    return Filter(name=_IN_WASM, typed_config=pack(Wasm(config=plugin)))


def is_http1_lines(one: Filter) -> bool:
    """Say whether a filter is this one, as WebAssembly."""
    return bool(one.name == _IN_WASM)


def _loaded(module: str) -> Filter:
    """Return the filter as JSON: the protos that we have lack `module`."""
    config = TypedStruct(type_url=_CONFIG)
    where = {"module": {"local": {"filename": module}}}
    config.value.update({"dynamic_module_config": where, "filter_name": _NAME})
    return Filter(name=_NAME, typed_config=pack(config))
