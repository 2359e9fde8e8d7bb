"""Coordinate systems of OME-Zarr 0.6, in the terms of the versions before it.

There the axes are those of named coordinate systems, and each array's transformation leads
to the *intrinsic* one, in which all levels lie (https://ngff.openmicroscopy.org/rfc/5/).
"""

from __future__ import annotations

from typing import Any


def in_plain_terms(described: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the description of an image's levels with axes, scales and translations.

    Parameters
    ----------
    described : dict
        An entry of ``multiscales``, of any version; nothing in it is taken for granted.

    Returns
    -------
    plain : dict
        As it was, if it has no coordinate systems. Else its axes are those of the intrinsic
        system, and sequences of transformations are written out.
    notes : tuple of str
        What was left aside.
    """
    systems = described.get("coordinateSystems")
    if "axes" in described or not isinstance(systems, list):
        return described, ()
    named = {
        str(system.get("name")): system["axes"]
        for system in systems
        if isinstance(system, dict) and isinstance(system.get("axes"), list)
    }
    datasets = described.get("datasets")
    datasets = [d for d in datasets if isinstance(d, dict)] if isinstance(datasets, list) else []
    intrinsic = next((name for name in map(_leads_to, datasets) if name in named), None)
    if intrinsic is None:  # with one system there is no doubt
        intrinsic = next(iter(named), None)
    if intrinsic is None:
        return described, ()
    notes: list[str] = []
    plain = {**described, "axes": named[intrinsic], "coordinateTransformations": []}
    plain["datasets"] = [
        {**dataset, "coordinateTransformations": _steps(dataset, notes)} for dataset in datasets
    ]
    others = [name for name in named if name != intrinsic]
    if others:
        notes.append(f"placed by its coordinate system {intrinsic}, not {', '.join(others)}")
    return plain, tuple(dict.fromkeys(notes))


def _leads_to(dataset: dict[str, Any]) -> str | None:
    """Name of the system to which the transformation of a level leads."""
    steps = dataset.get("coordinateTransformations")
    for step in reversed(steps if isinstance(steps, list) else []):
        output = step.get("output") if isinstance(step, dict) else None
        name = output.get("name") if isinstance(output, dict) else output
        if isinstance(name, str):
            return name
    return None


def _steps(dataset: dict[str, Any], notes: list[str]) -> list[Any]:
    found: list[Any] = []
    steps = dataset.get("coordinateTransformations")
    pending = list(steps) if isinstance(steps, list) else []
    while pending and len(found) < 64:  # a level has one or two
        step = pending.pop(0)
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "sequence" and isinstance(step.get("transformations"), list):
            pending = [*step["transformations"], *pending]
        elif kind in ("scale", "translation"):
            found.append(step)
        elif kind != "identity":
            notes.append(f"a transformation of its levels ({str(kind)[:20]}) was left out")
    # No scale at all means the pixels themselves, as an identity says.
    axes = [1.0] * 8
    return found or [{"type": "scale", "scale": axes}]
