"""Decisions about identities, without I/O: which are wanted, when each is due, whether what came back is right."""
