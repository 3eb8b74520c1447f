"""The xDS transport protocol without I/O."""
