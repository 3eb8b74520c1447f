"""Loki's settings in docker compose: one of it, on one disk, which takes OTLP."""

LOKI = """# Written by legation: https://grafana.com/docs/loki/latest/configure/
auth_enabled: false
server: {http_listen_port: 3100, log_level: warn}
common:
  instance_addr: 127.0.0.1
  path_prefix: /loki
  storage: {filesystem: {chunks_directory: /loki/chunks, rules_directory: /loki/rules}}
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
schema_config:
  configs:
    - {from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
compactor: {working_directory: /loki/compactor, retention_enabled: true, delete_request_store: filesystem}
limits_config: {retention_period: 168h, allow_structured_metadata: true}
ingester: {lifecycler: {min_ready_duration: 0s, final_sleep: 0s}}
analytics: {reporting_enabled: false}
"""
"""A week is kept, as telemetry itself does (`logging.max_age`)."""
