"""The batch that an Envoy sends, with bytes where OTLP has text.

An Envoy passes on what it was sent, a header's bytes too, and a batch with one that is no UTF-8 is none for protobuf:
whoever sends such a header would have the records of others lost. On the wire text and bytes are the same.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

_FILES = (common_pb2, resource_pb2, logs_pb2, logs_service_pb2)


def _batch() -> Any:
    pool = DescriptorPool()
    for module in _FILES:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        _text_to_bytes(file.message_type)
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"))


def _text_to_bytes(messages: Iterable[DescriptorProto]) -> None:
    for message in messages:
        for field in message.field:
            if field.type == FieldDescriptorProto.TYPE_STRING:
                field.type = FieldDescriptorProto.TYPE_BYTES
        _text_to_bytes(message.nested_type)


LenientBatch = _batch()
"""ExportLogsServiceRequest (opentelemetry-proto, collector/logs/v1)."""
