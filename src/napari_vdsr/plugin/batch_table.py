"""The files of a batch, as a table."""

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_vdsr.cli.upscale import amount, axes_shape, duration
from napari_vdsr.showing import shown

HEADS = ("File", "Status", "Result", "Remarks")
MARKS = {"done": "✓ done", "already done": "✓ already done", "failed": "✗ failed"}
LINES = 9  # that are seen without scrolling


class BatchTable(QTableView):
    """Rows of `Reading`, one for each file; as many as there are."""

    def __init__(self) -> None:
        super().__init__()
        self._rows = _Rows(self)
        self.setModel(self._rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        line = self.fontMetrics().lineSpacing()
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(line + 6)
        self.setMinimumHeight(LINES * (line + 6))
        head = self.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        head.setStretchLastSection(True)
        for column, letters in enumerate((18, 13, 24)):
            self.setColumnWidth(column, letters * self.fontMetrics().averageCharWidth())

    def show_rows(self, rows: list[dict[str, Any]]) -> None:
        """Show other files.

        Parameters
        ----------
        rows : list of dict
            See ``Reading``; it may change, see `update_rows`.
        """
        self._rows.beginResetModel()
        self._rows.rows = rows
        self._rows.endResetModel()

    def update_rows(self, numbers: set[int]) -> None:
        """Draw rows anew that have changed; follow the one at work, if nobody scrolls."""
        if not numbers:
            return
        last = len(HEADS) - 1
        first, end = self._rows.index(min(numbers), 0), self._rows.index(max(numbers), last)
        self._rows.dataChanged.emit(first, end)
        if self.currentIndex().row() < 0 and not self.underMouse():
            self.scrollTo(self._rows.index(max(numbers), 0))

    def texts(self) -> list[list[str]]:
        """What stands in it."""
        return [[cell(row, column) for column in range(len(HEADS))] for row in self._rows.rows]


class _Rows(QAbstractTableModel):
    """Model of the table."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[dict[str, Any]] = []

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802  Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802  Qt's name
        return len(HEADS)

    def headerData(  # noqa: N802  Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEADS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return cell(row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            told = [f"{row['source']} → {row['target']}", cell(row, 2), cell(row, 3)]
            return "\n".join(map(shown, filter(None, told)))
        return None


def cell(row: dict[str, Any], column: int) -> str:
    """Text of a cell."""
    if column == 0:
        return shown(_name(row["source"]))
    if column == 1:
        status = row["status"]
        if status == "at work":
            return f"{row['share']:.0%}"
        return MARKS.get(status, status)
    return _result(row) if column == 2 else shown(row.get("told") or "")


def _name(path: str) -> str:
    """Last part of a path of any system; of an image of a plate, which one."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or path


def _result(row: dict[str, Any]) -> str:
    """What comes, or came, of a file."""
    if not row.get("output_shape"):
        return ""
    parts = [f"{axes_shape(row['axes'], row['output_shape'])} {row['dtype']}"]
    if row["status"] == "planned":
        parts += [amount(row["bytes"]), f"about {duration(row['expected'])}"]
    elif row["status"] == "done":
        parts.append(duration(row["seconds"]))
    return ", ".join(parts)
