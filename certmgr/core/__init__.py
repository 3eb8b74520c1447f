"""Decisions about identities, without I/O: which are desired, when each is due, whether what came back is right."""
