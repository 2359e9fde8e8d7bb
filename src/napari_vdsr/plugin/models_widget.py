"""The widget "VDSR models": which there are, what each is good for, and those of one's own."""

from pathlib import Path
from typing import Any

from magicgui.widgets import Container, Label, LineEdit, PushButton
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QMessageBox,
    QTableWidget,
    QTableWidgetItem,
)

from napari_vdsr.errors import VdsrError
from napari_vdsr.model.card import SUFFIX, ModelCard, about
from napari_vdsr.model.catalog import Entry, add_model, entries, models_folder, remove_model
from napari_vdsr.plugin.boxes import catalog
from napari_vdsr.plugin.form import Form, wrap
from napari_vdsr.plugin.responsive import importing_torch
from napari_vdsr.plugin.task import Report
from napari_vdsr.plugin.task_row import CANCEL_KEY, TaskRow
from napari_vdsr.plugin.words import say
from napari_vdsr.plugin.work_dock import WorkDock
from napari_vdsr.showing import shown

HEADS = ("Model", "Good for", "Figures")
LINES = 7  # that are seen without scrolling
# What a network was trained to undo: always in a mode, and by these settings.
UNDONE = {
    "fewer pixels": (("sr", "paired", "mixed"), ()),
    "blur": ((), ("blur", "psf")),
    "noise": (("denoise", "mixed"), ("noise_gain", "noise_read", "noise_from")),
    "JPEG": (("jpeg", "mixed"), ("jpeg_quality",)),
}


class ModelsWidget(WorkDock):
    """Look at models; add and remove those of one's own.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._entries: list[Entry] = []
        self.table = QTableWidget(0, len(HEADS))
        self._set_up_table()
        holder = Container(widgets=[], labels=False)
        holder.margins = (0, 0, 0, 0)
        holder.native.layout().addWidget(self.table)
        self.about = Label(value="")
        wrap(self.about)
        self.as_name = LineEdit(
            label="Name", tooltip="By which an added model is picked; empty: as its card says"
        )
        self.add_button = PushButton(
            text="Add...",
            tooltip="Copy a model file into your folder, after a look whether it is one",
        )
        self.remove_button = PushButton(
            text="Remove...", tooltip="Delete the chosen model from your folder"
        )
        self.folder_button = PushButton(
            text="Open folder", tooltip="Show the folder of your models"
        )
        self.row = TaskRow([self.add_button, self.remove_button, self.folder_button])
        keys = {CANCEL_KEY: self.row.cancel_button}
        super().__init__(viewer, [holder, self.about, Form([self.as_name]), self.row], keys)
        self.add_button.changed.connect(self.ask_file)
        self.remove_button.changed.connect(self.remove_chosen)
        self.folder_button.changed.connect(self.open_folder)
        self.table.itemSelectionChanged.connect(self._tell)
        self.hear(self._on_catalog, catalog.changed)
        self.list_again()

    def _set_up_table(self) -> None:
        self.table.setHorizontalHeaderLabels(HEADS)
        self.table.verticalHeader().setVisible(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setStretchLastSection(True)
        line = self.table.fontMetrics().lineSpacing() + 8
        self.table.verticalHeader().setDefaultSectionSize(line)
        self.table.setMinimumHeight(LINES * line)

    def _on_catalog(self) -> None:
        chosen = self.chosen()
        self.list_again("" if chosen is None else chosen.name)

    def list_again(self, choose: str = "") -> None:
        """Fill the table; choose the model of a name, or the first."""
        self._entries = entries()
        self.table.setRowCount(len(self._entries))
        for row, entry in enumerate(self._entries):
            texts = (entry.name, *_columns(entry))
            for column, text in enumerate(texts):
                item = QTableWidgetItem(shown(text))
                item.setToolTip(_description(entry))
                self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()
        names = [entry.name for entry in self._entries]
        self.table.selectRow(names.index(choose) if choose in names else 0)
        self._tell()

    def chosen(self) -> Entry | None:
        """The model that is chosen in the table."""
        row = self.table.currentRow()
        return self._entries[row] if 0 <= row < len(self._entries) else None

    def _tell(self) -> None:
        entry = self.chosen()
        self.about.value = "" if entry is None else _description(entry)
        self.row.allow(self.remove_button, entry is not None and not entry.bundled)

    def ask_file(self, _: Any = None) -> None:
        """Ask for a model file, and add it."""
        name, _ = QFileDialog.getOpenFileName(
            self.native, "Model to add", "", f"VDSR models (*{SUFFIX})"
        )
        if name:
            self.add_file(Path(name))

    def add_file(self, path: Path) -> None:
        """Copy a model into the user's folder, with its checksum, if it is one."""
        wanted = self.as_name.value.strip() or None

        def work(report: Report) -> Path:
            report("checking the model")
            with importing_torch():
                from napari_vdsr.model.file import load_model

            return add_model(path, wanted, None, load_model)

        self.row.start(
            work, "VDSR models", on_report=lambda _: None, on_done=self._on_added,
            on_stopped=lambda: None,
        )  # fmt: skip

    def _on_added(self, target: Path) -> None:
        self.as_name.value = ""
        catalog.changed.emit()
        self.list_again(target.name.removesuffix(SUFFIX))
        self.row.status.value = f"Added: {shown(target)}"

    def remove_chosen(self, _: Any = None) -> None:
        """Delete the chosen model from the user's folder, if that is meant."""
        entry = self.chosen()
        if entry is None or entry.bundled:
            return
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self.native, "VDSR models", f"Delete {shown(entry.path)}?", buttons.Yes | buttons.No,
            buttons.No,
        )  # fmt: skip
        if answer != buttons.Yes:
            return
        try:
            gone = remove_model(entry.name)
        except VdsrError as error:
            self.row.refuse(error)
            return
        catalog.changed.emit()
        self.row.status.value = f"Removed: {shown(gone)}"

    def open_folder(self, _: Any = None) -> None:
        """Show the folder of the user's models."""
        folder = models_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            show_error(f"{shown(folder)}: {(error.strerror or str(error)).lower()}.")
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


def _description(entry: Entry) -> str:
    """What is to be said of a model in a line or two."""
    if entry.card is None or entry.problem:
        return f"Cannot be picked: {say(entry.problem)}"
    noted = "" if entry.bundled or entry.noted else " No checksum is noted."
    told = [f"{about(entry.card) or entry.card.architecture}{noted}", figures(entry.card)]
    return "\n".join(map(shown, filter(None, told)))


def _columns(entry: Entry) -> tuple[str, str]:
    if entry.card is None or entry.problem:
        return "nothing: cannot be picked", ""
    return good_for(entry.card), figures(entry.card)


def good_for(card: ModelCard) -> str:
    """What a model was trained to undo, at which scales."""
    scales = ", ".join(f"x{scale:g}" for scale in card.scales) or "any scale"
    config = _dict(card.training.get("config"))
    undone = [
        what
        for what, (modes, settings) in UNDONE.items()
        if config.get("mode") in modes or any(_some(config.get(name)) for name in settings)
    ]
    return ", ".join([*undone, scales, *(["invents details"] * card.invents)])


def figures(card: ModelCard) -> str:
    """PSNR as its card says: on a test set, or on images that were held out of training."""
    told = []
    for name, by_scale in _dict(card.measured.get("psnr_db")).items():
        found = [(scale, _number(psnr)) for scale, psnr in _dict(by_scale).items()]
        parts = [f"x{scale} {psnr:.2f}" for scale, psnr in found if psnr is not None]
        told += [f"{name}: {', '.join(parts)} dB"] * bool(parts)
    gains = []
    for task, found in _dict(card.measured.get("held_out")).items():
        psnr, before = (_number(_dict(_dict(found).get(who)).get("psnr_db"))
                        for who in ("model", "input"))  # fmt: skip
        if psnr is not None and before is not None:
            gains.append(f"{task} {psnr:.2f} ({psnr - before:+.2f})")
    told += [f"held out: {', '.join(gains)} dB"] * bool(gains)
    return "; ".join(told)


def _dict(value: object) -> dict[str, Any]:
    """A card may say anything."""
    return value if isinstance(value, dict) else {}


def _some(value: object) -> bool:
    """Whether a setting is a file, or a range that does not end at 0."""
    return any(value) if isinstance(value, list) else bool(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
