"""Legation: the staff that serves a fleet of stock Envoy proxies."""
