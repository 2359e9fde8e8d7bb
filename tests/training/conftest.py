"""Training without what takes longer than such small runs, and is looked at by few tests."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def undrawn():
    """Pictures are made, and empty; and Fabric does not search all packages for callbacks."""
    from napari_vdsr.training import measuring, report

    drawing = [(measuring, "draw_curve"), (report, "draw_outcomes")]
    drawn = [(module, name, getattr(module, name)) for module, name in drawing]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "draw_curve", lambda rows, path: path.touch())
        patch.setattr(report, "draw_outcomes", lambda outcomes, path, title: path.touch())
        if fabric := sys.modules.get("lightning_fabric.fabric"):  # which takes long to import
            patch.setattr(fabric, "_load_external_callbacks", lambda group: [], raising=False)
        yield drawn


@pytest.fixture
def drawn(undrawn, monkeypatch):
    """Pictures are drawn."""
    for module, name, draw in undrawn:
        monkeypatch.setattr(module, name, draw)
