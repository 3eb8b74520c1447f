"""`outlier_detection`: which instances a caller leaves out for a while, by what it sees of them itself."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from legation.mesh.types import Boolean, Integer, Interval, Model

Count = Annotated[Integer, Field(ge=1, le=1_000_000)]
Percent = Annotated[Integer, Field(ge=1, le=100)]


class OutlierDetection(Model):
    """Envoy's outlier detection, by Envoy's names. Only the kinds that are given count; none given: consecutive_5xx."""

    consecutive_5xx: Annotated[Count | None, Field(description="answers of 5xx in a row")] = None
    consecutive_gateway_failure: Annotated[Count | None, Field(description="answers of 502, 503, 504 in a row")] = None
    consecutive_local_origin_failure: Annotated[
        Count | None, Field(description="failures to connect, resets and timeouts in a row")
    ] = None
    split_external_local_origin_errors: Annotated[
        Boolean, Field(description="count failures to connect apart from answers")
    ] = False
    success_rate_minimum_hosts: Annotated[Count | None, Field(description="instances to compare at least")] = None
    success_rate_request_volume: Annotated[
        Count | None, Field(description="requests that an instance must have had in an interval to be compared")
    ] = None
    success_rate_stdev_factor: Annotated[
        Count | None, Field(description="thousandths of the standard deviation below the mean; 1900 is 1.9")
    ] = None
    failure_percentage_threshold: Annotated[Percent | None, Field(description="per cent of failed requests")] = None
    failure_percentage_minimum_hosts: Annotated[Count, Field(description="instances at least")] = 5
    failure_percentage_request_volume: Annotated[
        Count, Field(description="requests that an instance must have had in an interval")
    ] = 50
    interval: Annotated[Interval, Field(description="how often it is decided who comes back, and by rates")] = (
        timedelta(seconds=10)
    )
    base_ejection_time: Annotated[Interval, Field(description="the first time out; the n-th is n times as long")] = (
        timedelta(seconds=30)
    )
    max_ejection_time: Annotated[Interval, Field(description="the longest time out")] = timedelta(seconds=300)
    max_ejection_percent: Annotated[Percent, Field(description="per cent that may be out at once; one always may")] = 10
