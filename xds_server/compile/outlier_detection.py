"""`outlier_detection` to Envoy's; only the kinds that are given take an instance out."""

from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as Detection
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from legation.mesh.model.outlier_detection import OutlierDetection
from xds_server.compile.pack import duration

_ALWAYS, _NEVER = UInt32Value(value=100), UInt32Value(value=0)

_KINDS = {
    "consecutive_5xx": "enforcing_consecutive_5xx",
    "consecutive_gateway_failure": "enforcing_consecutive_gateway_failure",
    "consecutive_local_origin_failure": "enforcing_consecutive_local_origin_failure",
    "failure_percentage_threshold": "enforcing_failure_percentage",
}
_RATE = ("success_rate_minimum_hosts", "success_rate_request_volume", "success_rate_stdev_factor")
_VOLUMES = ("failure_percentage_minimum_hosts", "failure_percentage_request_volume", "max_ejection_percent")


def detection(asked: OutlierDetection) -> Detection:
    """Return what a caller's proxy looks at, and for how long it leaves an instance out."""
    found = Detection(
        interval=duration(asked.interval),
        base_ejection_time=duration(asked.base_ejection_time),
        max_ejection_time=duration(asked.max_ejection_time),
        always_eject_one_host=BoolValue(value=True),
        split_external_local_origin_errors=asked.split_external_local_origin_errors,
    )
    given = {field: value for field in (*_KINDS, *_RATE, *_VOLUMES) if (value := getattr(asked, field)) is not None}
    if not given.keys() & {*_KINDS, *_RATE}:
        given["consecutive_5xx"] = 5
    for field, value in given.items():
        getattr(found, field).CopyFrom(UInt32Value(value=value))
    for field, enforcing in _KINDS.items():
        getattr(found, enforcing).CopyFrom(_ALWAYS if field in given else _NEVER)
    by_rate = _ALWAYS if given.keys() & {*_RATE} else _NEVER
    found.enforcing_success_rate.CopyFrom(by_rate)
    if asked.split_external_local_origin_errors:
        found.enforcing_local_origin_success_rate.CopyFrom(by_rate)
    return found
