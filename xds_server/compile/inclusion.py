"""Which statistics a proxy counts: what our queries and our own readers read. RE2, of Envoy's own names.

Written from them by `make golden` (`telemetry.rules.inclusion`): what is read is counted, and nothing else.
"""

INCLUDED = (
    r"^access_logs\.open_telemetry_access_log\.to_telemetry\.logs_dropped$",
    r"^cluster\.(_local_app|[a-z0-9][a-z0-9_-]*)\.upstream_cx_connect_fail$",
    r"^cluster\.[a-z0-9][a-z0-9_-]*\.grpc\.[0-9]+$",
    r"^cluster\.[a-z0-9][a-z0-9_-]*\.outlier[._]detection[._]ejections[._]active$",
    r"^cluster\.[a-z0-9][a-z0-9_-]*\.upstream[._]rq[._]pending[._]overflow$",
    r"^cluster\.[a-z0-9][a-z0-9_-]*\.upstream[._]rq[._]retry$",
    r"^cluster\.[a-z0-9][a-z0-9_-]*\.upstream[._]rq[._]retry[._]overflow$",
    r"^cluster\._xds\.ssl\.certificate\.[^.]+\.expiration_unix_time_seconds$",
    r"^cluster\._xds\.upstream_rq_active$",
    r"^cluster_manager\.active[._]clusters$",
    r"^cluster_manager\.warming[._]clusters$",
    r"^connection_limit\.inbound\.limited_connections$",
    r"^http\.(blocked|outbound_port-[0-9]+)\.no_route$",
    r"^http\.(inbound|gateway_[^.]+)\.downstream_cx_active$",
    r"^http\.(inbound|gateway_[^.]+)\.downstream_rq_active$",
    r"^http\.(inbound|gateway_[^.]+)\.downstream_rq_completed$",
    r"^http\.(inbound|outbound_[^.]+|gateway_[^.]+)\.downstream[._]rq[._]rx[._]reset$",
    r"^http\.(inbound|outbound_[^.]+|gateway_[^.]+)\.downstream[._]rq[._]time$",
    r"^http\.(inbound|outbound_[^.]+|gateway_[^.]+)\.downstream_rq_[1-5]xx$",
    r"^http\.(inbound|outbound_legation-passthrough)\.rbac\.denied$",
    r"^http\.inbound\.rbac\.policy\.[^.]+\.shadow_denied$",
    r"^listener\.inbound\.ssl[._]connection[._]error$",
    r"^listener\.inbound\.ssl[._]fail[._]verify[._]error$",
    r"^listener\.inbound\.ssl[._]fail[._]verify[._]no[._]cert$",
    r"^listener\.inbound\.ssl[._]handshake$",
    r"^listener\.inbound\.ssl\.certificate\.[^.]+\.expiration_unix_time_seconds$",
    r"^listener_manager\.total[._]listeners[._]warming$",
    r"^plaintext\.requests\..+$",
    r"^server\.live$",
    r"^server\.uptime$",
    r"^tracing\.opentelemetry\.spans_dropped$",
)
