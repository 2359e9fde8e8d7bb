"""Values that others wrote, held against a schema before anything is done with them.

The one way in for model cards, training settings and checkpoints: text is parsed within
bounds, and what comes out is checked by `msgspec`, field by field, so that nothing behind it
has to ask again.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import contextmanager
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from napari_vdsr.showing import got, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T")

DEEPEST = 32
LARGEST_TEXT = 16 * 2**20
LARGEST_TOML = 2**20
# A name with more dots than any has; parsing it takes time in the square of their number.
DOTTED = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST + 1},}}"""
)
# What a type is called, and several of it.
WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "true or false"),
    dict: ("a table of names and values", "tables"),
}
# A largest value from here on is there for slips, and is not spoken of unless it is exceeded.
NO_LIMIT = 10**6
DIGITS = 15
COUNTS = {1: "one", 2: "two", 3: "three"}


class Damaged(ValueError):
    """What was read is not what it should be; one line says what was got and is allowed."""


def parse_json(text: str | bytes) -> Any:
    """Plain values of a JSON text.

    Raises
    ------
    Damaged
        If it is none, too long, or nested too deeply.
    """
    if len(text) > LARGEST_TEXT:
        raise Damaged(f"its text has {len(text)} characters, more than {LARGEST_TEXT}")
    with _parsing("JSON"):
        values = json.loads(text)
    return _not_deep(values)


def read_toml(path: Path) -> dict[str, Any]:
    """Plain values of a TOML file.

    Raises
    ------
    Damaged
        If it is none, too large, or nested too deeply.
    OSError
        If it cannot be read.
    """
    if not os.path.isfile(path):  # a pipe would be waited for, for ever
        raise Damaged("no such file")
    with path.open("rb") as file:
        content = file.read(LARGEST_TOML + 1)
    if len(content) > LARGEST_TOML:
        raise Damaged(f"it has more than the {LARGEST_TOML // 2**20} MiB that settings may have")
    with _parsing("TOML"):
        text = content.decode("utf-8-sig")
        if DOTTED.search(text):
            raise Damaged(f"it has names of more than {DEEPEST} parts")
        values = tomllib.loads(text)
    return dict(_not_deep(values))


@contextmanager
def _parsing(form: str) -> Iterator[None]:
    try:
        yield
    except Damaged:
        raise
    except RecursionError as error:
        raise Damaged(f"its {form} is nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise Damaged(shortened(str(error))) from error


def _not_deep(values: Any) -> Any:
    """Return `values`, which nothing that calls itself could run through if they were deep."""
    layer = [values]
    for _ in range(DEEPEST):
        layer = [
            inner
            for value in layer
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not layer:
            return values
    raise Damaged(f"it is nested more than {DEEPEST} levels deep")


def checked(values: Any, kind: type[T]) -> T:
    """Values as a `kind`: a ``msgspec.Struct``, or a dataclass of annotated fields.

    Raises
    ------
    Damaged
        Naming the first field that is wrong, what was got, and what is allowed.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise Damaged(_reason(str(error), values, kind)) from error
    except (RecursionError, OverflowError, ValueError) as error:
        raise Damaged(shortened(str(error))) from error


def _reason(message: str, values: Any, kind: Any) -> str:
    """Say of a field what msgspec says of a place."""
    rule, _, place = message.partition(" - at `")
    named = re.match(r"(?:key` in `)?\$\.?(\w+)", place)
    field = named.group(1) if named else ""
    quoted = "".join(re.findall("`(.*)`", rule, flags=re.DOTALL))
    if "missing required field" in rule:
        return f"{quoted} is missing"
    if "unknown field" in rule:
        return f"unknown {got(quoted)}; allowed are {', '.join(field_types(kind))}"
    if not field:
        return f"it is {got(values)}; it must be {WORDS[dict][0]}"
    value = values.get(field) if isinstance(values, dict) else None
    return f"{field} is {got(value)}; {_allowed(rule, value, field_types(kind).get(field))}"


def field_types(kind: Any) -> dict[str, Any]:
    """Fields of a struct or dataclass, with their annotations."""
    return get_type_hints(kind, include_extras=True)


def _allowed(rule: str, value: Any, annotation: Any) -> str:
    """Rule that a field breaks, in words."""
    inner = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(x, float) and not -1e308 <= x <= 1e308 for x in inner):
        return "it must be finite"
    bounds, bare = _bounds(_stated(annotation))
    if "enum value" in rule and get_origin(bare) is Literal:
        return f"allowed are {', '.join(map(str, get_args(bare)))}"
    if re.search("` [<>]", rule) or "out of range" in rule:
        return _span(bounds, too_small="` >" in rule)
    if "`str` of length" in rule:
        return f"allowed are texts of {rule.partition('length ')[2]} characters"
    if "matching regex" in rule:
        return f"allowed are texts that match {rule.partition('regex ')[2]}"
    return f"it must be {_word(bare)}"


def _stated(annotation: Any) -> Any:
    """What a field holds that may be left out, as None."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    optional = get_origin(annotation) in (Union, UnionType) and len(kinds) == 1
    return kinds[0] if optional else annotation


def _bounds(annotation: Any) -> tuple[Any, Any]:
    """Limits of a number, or of the numbers of a list; and the bare type."""
    bare = annotation
    if get_origin(bare) is Annotated:
        bare, *metas = get_args(annotation)
        if metas and (metas[0].ge is not None or metas[0].gt is not None):
            return metas[0], bare
    if get_origin(bare) is tuple:
        return _bounds(get_args(bare)[0])[0], bare
    return None, bare


def _span(meta: Any, *, too_small: bool) -> str:
    if meta is None:
        return "it is out of range"
    least = meta.gt if meta.ge is None else meta.ge
    most = meta.lt if meta.le is None else meta.le
    if too_small and (most is None or most >= NO_LIMIT):
        return f"it must be above {least}" if meta.ge is None else f"allowed is at least {least}"
    above, below = "above " * (meta.ge is None), "below " * (meta.le is None)
    return f"allowed is {above}{least} to {below}{most:.{DIGITS}g}"


def _word(bare: Any) -> str:
    """What a type is called by people."""
    kind, parts = get_origin(bare) or bare, get_args(bare)
    if kind in (tuple, list):
        inner = _bounds(parts[0])[1]
        many = WORDS.get(get_origin(inner) or inner, ("", "values"))[1]
        fixed = kind is tuple and parts[-1] is not Ellipsis
        return f"{COUNTS.get(len(parts), len(parts))} {many}" if fixed else f"a list of {many}"
    return WORDS.get(kind, ("of another kind", ""))[0]
