"""YAML text as parser events by libyaml, in C: the pure parser takes thirty times as long, most of a large file's load.

What libyaml, which is of YAML 1.1, may read or place otherwise than the pure parser (`syntax`) is left to that one,
and so is every text with a fault: messages come from one parser alone.
"""

import re
from collections.abc import Iterator

import yaml
from yaml.events import Event, ScalarEvent

_UNCLEAR = re.compile(
    r"[\t\r\x85\u2028\u2029\ufeff]"  # tabs, and line breaks of one version of YAML alone
    r"|^(?:%|\.\.\.)"  # directives, ends of documents
    r"|(?:^|[\s\[{,:-])(?:!|[&*]\S|[|>?])",  # tags, anchors, aliases, block texts, keys of more than a line
    re.MULTILINE,
)


class Unclear(Exception):
    """The other parser has to read this text."""


def quick_events(text: str) -> Iterator[Event]:
    """Return the events of a YAML text, one by one; Unclear where they may not be what the other parser makes of it."""
    if not yaml.__with_libyaml__ or _UNCLEAR.search(text):
        raise Unclear
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, ScalarEvent) and event.implicit[0] and not event.value:
                raise Unclear  # where nothing is written, each has a place of its own for it
            yield event
    except (yaml.YAMLError, UnicodeError) as error:
        raise Unclear from error
