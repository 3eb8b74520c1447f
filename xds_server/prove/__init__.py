"""A stock Envoy looks at a changed mesh before any proxy gets it."""
