"""How much of one value is kept: whoever writes a log may write as much as he likes. Pure."""

LONGEST = 8192
"""Characters. Receivers have limits too: Loki takes 64 kB of all that is said of one record."""


def shorten(text: str) -> str:
    """Return a text of at most about `LONGEST` characters that says how many it has lost."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more)"
