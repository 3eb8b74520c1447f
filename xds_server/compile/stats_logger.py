"""A logger of statistics: what requests or connections raise, under names and labels of our own."""

from collections.abc import Mapping
from typing import Any

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter
from xds.type.v3.typed_struct_pb2 import TypedStruct

from xds_server.compile.pack import pack

_CONFIG = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"


def stats_logger(counted: Mapping[str, Any], only: AccessLogFilter | None = None) -> AccessLog:
    """Return the logger of an access_loggers.stats.v3.Config, as JSON has it, for what `only` lets by.

    The protos that we have lack `stats_scope`: so it is written as JSON.
    """
    config = TypedStruct(type_url=_CONFIG)
    config.value.update(counted)
    return AccessLog(name="envoy.access_loggers.stats", filter=only, typed_config=pack(config))
