"""Which instances there are: decisions without I/O, and the store that outlives us."""
