"""How much of a mesh file is read."""

LONGEST_TEXT = 1_000_000
"""Characters of one file: some 5,000 services."""
