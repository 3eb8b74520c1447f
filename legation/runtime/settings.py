"""Settings of a service: a frozen dataclass, filled once from flags and the environment, passed down explicitly."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:

    class _Dataclass(Protocol):
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


S = TypeVar("S", bound="_Dataclass")


def load(cls: type[S], prefix: str, argv: Sequence[str], environ: Mapping[str, str]) -> S:
    """Return the settings that `--some-field` flags, else `PREFIX_SOME_FIELD` variables, else defaults give.

    Fields may be `str`, `int`, `float`, `bool` or `Path`. `metadata={"help": …}` becomes the help
    text. A missing one without a default ends the process with a usage message (exit code 2).
    """
    parser = argparse.ArgumentParser(prog=prefix.lower(), description=cls.__doc__)
    for field in fields(cls):
        _add(parser, field, environ.get(f"{prefix}_{field.name.upper()}"))
    return cls(**vars(parser.parse_args(argv)))


def _add(parser: argparse.ArgumentParser, field: Field[Any], given: str | None) -> None:
    """Add one field's flag; the environment's value is its default."""
    convert: Callable[[str], Any] = _CONVERTERS[_type_name(field)]
    default = given if given is not None else (None if field.default is MISSING else field.default)
    parser.add_argument(
        f"--{field.name.replace('_', '-')}",
        dest=field.name,
        type=convert,
        default=convert(default) if isinstance(default, str) else default,
        required=default is None and field.default is MISSING,
        help=field.metadata.get("help"),
    )


def _type_name(field: Field[Any]) -> str:
    """Return the plain name of a field's type, without `| None`."""
    name = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    return str(name).removesuffix(" | None").rpartition(".")[2]


def _truth(text: str) -> bool:
    """Read a flag as people write it."""
    return text.lower() in {"1", "true", "yes", "on"}


_CONVERTERS: Mapping[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float, "Path": Path, "bool": _truth}
