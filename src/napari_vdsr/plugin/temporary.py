"""What a widget puts into the viewer for a while, and how all was before."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Layer
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

# In the metadata of layers: of those that are not the user's, and of results, with their kind.
PREVIEW_MARK, OUTPUT_MARK = "vdsr-preview", "vdsr-output"
RESULT = "result"


def is_output(layer: Any) -> bool:
    """Whether a layer was computed by one of the widgets."""
    return layer is not None and OUTPUT_MARK in layer.metadata


def is_image(layer: Any) -> bool:
    """Whether a layer holds an image: of the user's, or an upscaled one.

    Previews, differences and feature maps do not.
    """
    if not isinstance(layer, ImageLayer) or PREVIEW_MARK in layer.metadata:
        return False
    return layer.metadata.get(OUTPUT_MARK, RESULT) == RESULT


class Temporary:
    """Owner of the layers, hidden layers, text and view that a widget lends from the viewer.

    All is put back by `restore`: when the widget asks for it or is closed, and by itself
    when the source is removed, or when the user has removed the last of the layers.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers and canvas are changed.
    on_restored : callable, optional
        Called after all was put back by itself.

    Attributes
    ----------
    source : napari.layers.Layer or None
        What the layers are made from; it stays selected.
    """

    def __init__(self, viewer: Viewer, on_restored: Callable[[], None] | None = None) -> None:
        self._viewer = viewer
        self._on_restored = on_restored
        self._layers: list[Layer] = []
        self._hidden: list[Layer] = []
        self._text: tuple[str, bool] | None = None
        self._view: dict[str, Any] | None = None
        self._grid: dict[str, Any] | None = None
        self._closed = False
        self.source: Layer | None = None
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def layers(self) -> list[Layer]:
        """Those that were added and are still there."""
        return [layer for layer in self._layers if layer in self._viewer.layers]

    def add(self, kind: str, data: Any, **meta: Any) -> Any:
        """Add a layer, which no widget takes for an image of the user's.

        Parameters
        ----------
        kind : str
            Of layer: ``"image"``, ``"points"``.
        data, **meta
            For ``viewer.add_image`` and the like.

        Returns
        -------
        napari.layers.Layer
            Marked as temporary; the source is selected, as before.
        """
        meta["metadata"] = {**meta.get("metadata", {}), PREVIEW_MARK: True}
        layer = getattr(self._viewer, f"add_{kind}")(data, **meta)
        self._layers.append(layer)
        self.select_source()
        return layer

    def select_source(self) -> None:
        """Have the source selected, so that nothing else becomes the next one."""
        if self.source is not None and self.source in self._viewer.layers:
            self._viewer.layers.selection.active = self.source

    def hide(self, layer: Layer) -> None:
        """Hide a layer of the user's."""
        if layer.visible:
            layer.visible = False
            self._hidden.append(layer)

    def write(self, text: str) -> None:
        """Write onto the canvas."""
        overlay = self._viewer.canvas.overlays.text
        if self._text is None:
            self._text = overlay.text, overlay.visible
        overlay.text, overlay.visible = text, True

    def look(self, center: Sequence[float], zoom: float) -> None:
        """Move the camera.

        Parameters
        ----------
        center : sequence of float
            (0, Y, X) in world coordinates.
        zoom : float
            Screen pixels per world unit.
        """
        camera = self._viewer.scene.camera
        if self._view is None:
            self._view = {"center": tuple(camera.center), "zoom": camera.zoom}
        camera.center, camera.zoom = tuple(center), zoom

    def grid(self, enabled: bool) -> None:
        """Have the layers that are seen lie beside one another, or all where they are.

        Parameters
        ----------
        enabled : bool
            Whether napari's grid is on; then each layer has a cell of its own.
        """
        grid = self._viewer.canvas.grid
        if self._grid is None:
            self._grid = {name: getattr(grid, name) for name in ("enabled", "stride", "shape")}
        if enabled:
            grid.stride, grid.shape = 1, (-1, -1)
        grid.enabled = enabled

    def restore(self, *, view: bool = True) -> None:
        """Remove the layers, and put back what was hidden, written and moved.

        Parameters
        ----------
        view : bool
            Whether the camera goes back, too.
        """
        layers, self._layers = self.layers, []
        for layer in layers:
            self._viewer.layers.remove(layer)
        hidden, self._hidden = self._hidden, []
        for layer in hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        if self._text is not None:
            overlay = self._viewer.canvas.overlays.text
            (overlay.text, overlay.visible), self._text = self._text, None
        if self._grid is not None:
            before, self._grid = self._grid, None
            for name, value in before.items():
                setattr(self._viewer.canvas.grid, name, value)
        if view and self._view is not None:
            camera = self._viewer.scene.camera
            camera.center, camera.zoom = self._view["center"], self._view["zoom"]
            self._view = None

    def close(self) -> None:
        """Put all back, for good."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # the window has gone with its canvas
            self.restore()
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        own = gone in self._layers
        if own:
            self._layers.remove(gone)
        if gone == self.source or (own and not self._layers):
            # The viewer is still busy with removing; it does not like another one now.
            QTimer.singleShot(0, self._restore_by_itself)

    def _restore_by_itself(self) -> None:
        if self._closed:
            return
        with contextlib.suppress(RuntimeError):
            self.restore()
        if self._on_restored is not None:
            self._on_restored()
