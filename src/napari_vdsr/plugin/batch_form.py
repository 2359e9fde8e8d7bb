"""The fields of "VDSR batch", which become the words of ``vdsr upscale``."""

import os
import shlex
import sys
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    LineEdit,
    PushButton,
    Select,
)
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog

from napari_vdsr.cli.upscale import FORMATS, IF_EXISTS
from napari_vdsr.cli.upscale_words import check_words, help_of
from napari_vdsr.errors import UsageError
from napari_vdsr.options import DEFAULT_MODEL, DEFAULTS
from napari_vdsr.plugin.boxes import CHOOSE, ModelBox
from napari_vdsr.plugin.form import DEVICES, PRECISIONS, Fold, Form
from napari_vdsr.plugin.preferences import preferences
from napari_vdsr.plugin.train_form import path_in
from napari_vdsr.plugin.work_dock import fill_in

AS_INPUT = "as the input"
OURS = {"events": "--events", "dry_run": "--dry-run"}  # what the dock itself says


class InputsBox(Container):
    """List of files and folders, which can be dropped there, too.

    Parameters
    ----------
    tooltip : str
        What they are.
    """

    def __init__(self, tooltip: str) -> None:
        self.names: list[str] = []
        self.list = Select(
            choices=lambda _: [(name, name) for name in self.names],
            tooltip=f"{tooltip} They can be dropped here",
        )
        self.list.min_height = self.list.max_height = 74
        self.files = PushButton(text="Files...", tooltip="Add image files")
        self.folder = PushButton(text="Folder...", tooltip="Add a folder, or an OME-Zarr")
        self.remove_button = PushButton(
            text="Remove", tooltip="Take out what is chosen in the list"
        )
        buttons = Container(
            widgets=[self.files, self.folder, self.remove_button], layout="horizontal", labels=False
        )
        buttons.margins = (0, 0, 0, 0)
        super().__init__(widgets=[self.list, buttons], labels=False)
        self.margins = (0, 0, 0, 0)
        self.files.changed.connect(self._ask_files)
        self.folder.changed.connect(self._ask_folder)
        self.remove_button.changed.connect(self._remove)
        self._dropping = _Dropping(self)

    def add(self, names: Sequence[str]) -> None:
        """Add inputs; those that are there stay where they are."""
        self.set_names(
            [*self.names, *(name for name in dict.fromkeys(names) if name not in self.names)]
        )

    def set_names(self, names: Sequence[str]) -> None:
        """Have other inputs."""
        self.names = list(names)
        self.list.reset_choices()
        self.list.changed.emit(self.list.value)

    def _ask_files(self, _: Any = None) -> None:
        from napari_vdsr.io import IMAGE_SUFFIXES  # brings all that reads images

        patterns = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
        names, _ = QFileDialog.getOpenFileNames(
            self.native, "Images to upscale", "", f"Images ({patterns});;All files (*)"
        )
        self.add(list(names))

    def _ask_folder(self, _: Any = None) -> None:
        name = QFileDialog.getExistingDirectory(self.native, "Folder of images to upscale")
        self.add([name] if name else [])

    def _remove(self, _: Any = None) -> None:
        chosen = set(self.list.value)
        self.set_names([name for name in self.names if name not in chosen])


class _Dropping(QObject):
    """Takes files that are dropped onto a list; without it napari would open them."""

    def __init__(self, box: InputsBox) -> None:
        super().__init__(box.list.native)
        self._box = weakref.ref(box)
        box.list.native.setAcceptDrops(True)
        box.list.native.viewport().setAcceptDrops(True)
        box.list.native.viewport().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  Qt's name
        dragged = (QEvent.Type.DragEnter, QEvent.Type.DragMove, QEvent.Type.Drop)
        found = getattr(self, "_box", None)
        box = None if found is None else found()
        if box is None or event.type() not in dragged or not event.mimeData().hasUrls():
            return False
        event.acceptProposedAction()
        if event.type() == QEvent.Type.Drop:
            urls = event.mimeData().urls()
            box.add([url.toLocalFile() for url in urls if url.isLocalFile()])
        return True


class BatchForm:
    """Fields, and the words that they mean.

    Attributes
    ----------
    main, further : Form
        What everybody decides, and the rest.
    fold : Fold
        Shows the rest.
    """

    def __init__(self) -> None:
        self._build()
        self.main = Form(
            [
                self.inputs, self.pattern, self.recursive, self.output, self.model,
                self.model.about, self.scale, self.format,
            ]
        )  # fmt: skip
        self.fold = Fold("Advanced")
        self.further = Form(
            [
                self.name_template, self.if_exists, self.device, self.precision,
                self.self_ensemble, self.more,
            ]
        )  # fmt: skip
        self.fold.changed.connect(lambda opened: setattr(self.further, "visible", opened))
        self.further.visible = False

    def _build(self) -> None:
        self.inputs = InputsBox(help_of("inputs"))
        self.inputs.label = "Images"
        self.pattern = LineEdit(label="Pattern", value="*", tooltip=help_of("pattern"))
        self.recursive = CheckBox(label="", text="Subfolders, too", tooltip=help_of("recursive"))
        self.output = FileEdit(label="Output", mode="d", tooltip=help_of("output"))
        self.model = ModelBox(default=preferences().model)
        self.scale = LineEdit(label="Scale", value="2", tooltip=help_of("scale"))
        self.format = ComboBox(
            label="Format", choices=(AS_INPUT, *FORMATS), tooltip=help_of("format")
        )
        self.name_template = LineEdit(
            label="Names", value="{stem}", tooltip=help_of("name_template")
        )
        self.if_exists = ComboBox(label="Existing", choices=IF_EXISTS, tooltip=help_of("if_exists"))
        self.device = ComboBox(
            label="Device", choices=DEVICES, value=preferences().device, tooltip=help_of("device")
        )
        self.precision = ComboBox(
            label="Precision", choices=PRECISIONS, value=preferences().precision,
            tooltip=help_of("precision"),
        )  # fmt: skip
        self.self_ensemble = CheckBox(
            label="", text="Self-ensemble", tooltip=help_of("self_ensemble")
        )
        self.more = LineEdit(
            label="More options",
            tooltip="As on the command line, such as --also residual --crop 0:512,0:512; "
            "vdsr upscale --help names them all",
        )

    def fields(self) -> dict[str, Any]:
        """Fields by name, but for those of paths."""
        return {
            name: getattr(self, name)
            for name in ("pattern", "recursive", "model", "scale", "format", "name_template",
                         "if_exists", "device", "precision", "self_ensemble", "more")
        }  # fmt: skip

    def values(self) -> dict[str, Any]:
        """How it is filled in, in terms of JSON."""
        output = path_in(self.output)
        paths = {"inputs": self.inputs.names, "output": str(output) if output else ""}
        return {**paths, **{name: field.value for name, field in self.fields().items()}}

    def fill(self, values: Mapping[str, Any]) -> None:
        """Fill it in; what is no value of a field is passed over."""
        if isinstance(values.get("inputs"), list):
            self.inputs.set_names([name for name in values["inputs"] if isinstance(name, str)])
        for name, field in {"output": self.output, **self.fields()}.items():
            if name in values:
                fill_in(field, values[name])

    def words(self) -> list[str]:
        """What follows ``vdsr upscale``.

        Raises
        ------
        UsageError
            If something is missing, or the further options are no words.
        """
        output = path_in(self.output)
        if not self.inputs.names:
            raise UsageError("Add images: files, or a folder of them.")
        if output is None:
            raise UsageError("Choose a folder as Output; it need not exist.")
        if self.model.value == CHOOSE:
            raise UsageError("Choose a model.")
        said = {
            "--pattern": (self.pattern.value, ("*", "")),
            "--scale": (self.scale.value.strip(), ("",)),
            "--model": (self.model.value, (DEFAULT_MODEL,)),
            "--format": (self.format.value, (AS_INPUT,)),
            "--name-template": (self.name_template.value, ("{stem}", "")),
            "--if-exists": (self.if_exists.value, (IF_EXISTS[0],)),
            "--device": (self.device.value, (DEFAULTS.device,)),
            "--precision": (self.precision.value, (DEFAULTS.precision,)),
        }
        words = [f"--output={os.path.abspath(output)}"]
        # Joined, so that no value is taken for an option.
        words += [f"{name}={value}" for name, (value, usual) in said.items() if value not in usual]
        words += ["--recursive"] * self.recursive.value
        words += ["--self-ensemble"] * self.self_ensemble.value
        return [*words, *self._more(), "--", *map(_absolute, self.inputs.names)]

    def _more(self) -> list[str]:
        try:
            more = split(self.more.value)
        except ValueError as error:
            raise UsageError(f"'More options' is not understood ({error}).") from None
        if "--" in more:
            raise UsageError("'More options' takes options, not --.")
        return more


def split(text: str, system: str = sys.platform) -> list[str]:
    r"""Words of a line, quoted as in a terminal; on Windows ``\\`` stands for itself.

    Raises
    ------
    ValueError
        If a quotation does not end.
    """
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    if system == "win32":
        lexer.escape = ""
    return list(lexer)


def checked(words: Sequence[str]) -> dict[str, Any]:
    """Values of all options, if the command would take the words, and they are not the dock's.

    Raises
    ------
    UsageError, ModelFileError
        If not.
    """
    given = check_words(words)
    for name, option in OURS.items():
        if given[name]:
            raise UsageError(f"{option} is what this dock says itself; leave it out.")
    return given


def _absolute(name: str) -> str:
    """Path that means the same in any folder; addresses and patterns stay."""
    return name if "://" in name else os.path.abspath(name)
