"""The report of a batch, for reading."""

import html
import json
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from napari_vdsr.cli.upscale import axes_shape
from napari_vdsr.errors import UsageError
from napari_vdsr.showing import shown

MOST = 500  # files in the text; the others are in the JSON
SIZE = (760, 520)


class BatchReport(QDialog):
    """A window that shows a report.

    Parameters
    ----------
    parent : QWidget
        Whose window it belongs to.
    path : pathlib.Path
        The report's JSON.

    Raises
    ------
    UsageError
        If there is none that can be read.
    """

    def __init__(self, parent: QWidget, path: Path) -> None:
        text = report_html(read_report(path))
        super().__init__(parent)
        self.setWindowTitle("VDSR batch: report")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.browser = QTextBrowser()
        self.browser.setHtml(text)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        as_json = buttons.addButton("Open the JSON", QDialogButtonBox.ButtonRole.ActionRole)
        as_json.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))))
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.browser)
        layout.addWidget(buttons)
        self.resize(*SIZE)


def read_report(path: Path) -> dict[str, Any]:
    """Content of a report.

    Raises
    ------
    UsageError
        If there is none that can be read.
    """
    try:
        found = json.loads(path.read_text("utf-8", errors="replace"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: there is no report that can be read.") from error
    if not isinstance(found, dict) or not isinstance(found.get("files"), list):
        raise UsageError(f"{path}: is no report of a batch.")
    return found


def report_html(report: dict[str, Any]) -> str:
    """Report as a page: what was done with what, and every file, those that failed first."""
    counts = ", ".join(f"{number} {status}" for status, number in report["counts"].items())
    through, total = len(report["files"]), report["total"]
    rest = f", {total - through} not begun" if total > through else ""
    model = report["model"]
    settings = ", ".join(
        f"{name} {_text(value)}" for name, value in report["parameters"].items()
        if value is not None and name != "model"
    )  # fmt: skip
    files = sorted(report["files"], key=lambda one: one["status"] != "failed")
    rows = "".join(_row(one) for one in files[:MOST])
    more = f"<p>And {through - MOST} more, in the JSON.</p>" if through > MOST else ""
    return (
        f"<h3>{_text(counts or 'nothing')} of {total} files{rest}</h3>"
        f"<p>Model {_text(model['name'])} ({_text(str(model['sha256'])[:12])}), "
        f"{settings}. {_text(report['software'])}</p>"
        f"<table border='0' cellpadding='3'>{rows}</table>{more}"
    )


def _row(one: dict[str, Any]) -> str:
    shapes = [axes_shape(one["axes"], one[name]) for name in ("shape", "output_shape")]
    told = "; ".join(filter(None, [one["reason"], *one["notes"]]))
    what = f"{' → '.join(shapes)} {one['dtype']}" if one["output_shape"] else ""
    cells = (one["status"], one["source"], what, told)
    return "<tr>" + "".join(f"<td>{_text(text)}</td>" for text in cells) + "</tr>"


def _text(value: object) -> str:
    return html.escape(shown(value))
