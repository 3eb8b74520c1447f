"""Grafana's data sources beside Prometheus: traces and logs, each with a link to the other."""

from collections.abc import Mapping

_JAEGER = """# Grafana: https://grafana.com/docs/grafana/latest/datasources/jaeger/
apiVersion: 1
datasources:
  - name: Jaeger
    uid: jaeger
    type: jaeger
    access: proxy
    url: "$JAEGER_URL"
    jsonData:
      tracesToLogsV2:
        datasourceUid: loki
        customQuery: true
        # Grafana fills in environment variables here: two dollars stay one
        query: '{service_name=~".+"} | trace_id="$${__trace.traceId}"'
"""
_LOKI = """# Grafana: https://grafana.com/docs/grafana/latest/datasources/loki/
apiVersion: 1
datasources:
  - name: Loki
    uid: loki
    type: loki
    access: proxy
    url: "$LOKI_URL"
    jsonData:
      derivedFields:
        - {name: trace, matcherType: label, matcherRegex: trace_id, datasourceUid: jaeger, url: "$${__value.raw}"}
"""


def datasources() -> Mapping[str, str]:
    """Return provisioning files by relative path. Addresses are JAEGER_URL and LOKI_URL of Grafana's environment."""
    return {
        "provisioning/datasources/jaeger.yaml": _JAEGER,
        "provisioning/datasources/loki.yaml": _LOKI,
    }
