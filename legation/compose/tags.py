"""What an override says with a tag: in the place of what the files before it say (compose-spec: 13-merge.md)."""

from typing import Any


class Override(dict[str, Any]):
    """A mapping that takes the place of the one before it (`!override`)."""


class Replacing(list[Any]):
    """A list that takes the place of the one before it (`!override`, or an emptied one's `!reset`)."""


class Reset(list[Any]):
    """A list that is emptied (`!reset`)."""
