"""xds_server: tells every Envoy what to route where. Its protocol core is promised as a library."""
