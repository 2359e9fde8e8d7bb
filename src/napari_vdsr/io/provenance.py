"""How provenance is spelled in files that hold only text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "napari-vdsr"
NAMESPACE = "napari-vdsr/provenance"
CONTRAST_NAMESPACE = "napari-vdsr/contrast"
BEGIN = "[napari-vdsr]"


def encode_value(value: Any) -> str:
    """Return a value as text: a string as it is, if it cannot be taken for anything else."""
    if isinstance(value, str) and value.isprintable() and value == value.strip():
        try:
            parse_json(value)
        except ValueError:
            return value
    return json.dumps(value)


def decode_value(text: str) -> Any:
    """Return what `encode_value` was given."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def to_lines(provenance: Mapping[str, Any]) -> str:
    """Return provenance as a section of ``key = value`` lines for people to read."""
    return "\n".join([BEGIN, *(f"{k} = {encode_value(v)}" for k, v in provenance.items()), ""])


def from_lines(text: str) -> dict[str, Any] | None:
    """Return the provenance in a text; None if it has no such section."""
    _, begin, section = text.partition(BEGIN + "\n")
    if not begin:
        return None
    lines = section.partition("\n\n")[0].split("\n")
    pairs = (line.partition(" = ") for line in lines)
    return {key: decode_value(value) for key, sign, value in pairs if sign}


def without_lines(text: str) -> str:
    """Return a text without its section of provenance."""
    before, begin, section = text.partition(BEGIN + "\n")
    return (before.rstrip("\n") + section.partition("\n\n")[2]) if begin else text


def plain_values(provenance: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return provenance as JSON has it: NumPy numbers as numbers, paths as text."""
    text = json.dumps(dict(provenance or {}), default=lambda v: getattr(v, "item", v.__str__)())
    return dict(json.loads(text))


def software_tag(provenance: Mapping[str, Any] | None) -> str:
    """Return what the Software tag of a file says: 7-bit text, as TIFF wants it."""
    stated = str((provenance or {}).get("software", KEY))
    text = stated if stated.startswith(KEY) else f"{KEY} {stated}"
    return text.encode("ascii", "replace").decode("ascii")
