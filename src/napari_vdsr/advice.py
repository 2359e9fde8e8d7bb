"""What to do next, as data: each door says it in the words of its own options or fields."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from napari_vdsr.showing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping


class Remedy(Enum):
    """Something that the user can do about a problem.

    The value is how it reads outside of any door, such as in a Python session: a clause
    without a full stop, in which ``{name}`` stands for a value that comes with the remedy.
    The words of the command line are in ``cli.words``, those of the window in
    ``plugin.words``; each has all of them.
    """

    # Pixels
    FILL_NAN = "give a value to put there"
    WIDER_RANGE = "take a wider range, such as the smallest and largest intensity"
    AS_NUMBERS = "convert it to 8-bit numbers first, 0 and 255"
    NAME_AXES = "name the axes, such as {axes}, to say otherwise"
    COUNT_AXES = "give one letter for each dimension, such as {axes}"

    # Which image, and how much of it
    SERIES = "another one is read by its number"
    PARTIAL = (
        "export or copy it again, or ask for a partial reading, which takes the planes that are "
        "there"
    )
    READ_PAGES = "export it again, or name its axes to read its pages one by one"

    INSTALL = 'install the extra that reads it: pip install "napari-vdsr[{extra}]"'

    # Computing
    MORE_MEMORY = "allow more memory"
    ON_CPU = "close what else uses it, or compute on the CPU"
    AUTO_DEVICE = "let the device be chosen: auto"
    FLOAT32 = "use the precision float32"

    GOAL = "ask for {goal}, or take another model"
    SCALE_OF_EACH = "give a scale for each axis, or take another model"
    PLAIN_SCALE = "give a scale, or state the pixel size in the file"

    # Writing
    PLAIN_TIFF = "write a plain TIFF"
    PNG = "write a PNG"
    FEWER_AXES = "write a plain TIFF, which takes any axes"
    OME_TIFF = "write an OME-TIFF or a plain TIFF"
    IN_PIECES = "write an OME-Zarr, or a TIFF without compression"
    OVERWRITE = "remove it, or allow overwriting"
    LET_EXIST = "let existing outputs be skipped or overwritten, or choose another output folder"
    ROOM = "check disk space and permissions"
    COMPRESS = "free some space, choose another output folder, or compress the output"

    # A batch
    RECURSIVE = "name files, folders or patterns; subfolders are entered when that is asked for"
    TEMPLATE = "give them different names, e.g. by the template '{template}'"
    OTHER_OUTPUT = "choose another output folder, or a template of names such as '{template}'"
    SHORTER_NAME = "rename the input, or use a shorter template of names"
    MAKE_PART = "make it: part {part} of {of} of {command}"
    DEBUG = "this is a fault of the software: please report it"

    # Training
    LOW_RESOLUTION = (
        "name them; what is held out to measure on is a share of the pairs, and no other folder"
    )
    MEASURE_ON = (
        "add files of other fields of view, name other images to measure on, or hold nothing out"
    )
    ALLOW_SHIFT = "register the pairs first, or allow the shift"
    NEW_RUN = "start a new run"
    GO_ON = "resume that run, or name another folder"
    GO_ON_RENAMED = "resume that run, or give another folder or name"
    GO_ON_LATER = (
        "make room or name another folder; from a checkpoint that is already there the run can be "
        "resumed"
    )
    RESUME = "the run can be resumed"
    KEEP_NAME = "leave the name out"
    NAME_MODEL = (
        "give one with up to {longest} letters, digits, spaces, and _ + . -, begun by a letter or "
        "digit, without {suffix}"
    )
    OTHER_NAME = "give another name"
    SAME_MINUTES = "give {minutes:g} minutes again; when it has ended, more steps make it longer"
    MORE_STEPS = "set more steps"
    EXCLUDE = "leave it out"
    LARGER_IMAGES = "add larger images, or set smaller patches"
    REPAIR = "repair it, or leave it out"
    MEASURE_WITHOUT = "repair it, or take it out of the images to measure on"
    CHECK_EXCLUDED = "check the names of what is to be left out"
    NO_CHANNEL = "save the channel by itself, or choose none"
    LEAVE_OUT = "leave the file out, or choose no channel"
    RUN_FILE = "load that file as a whole run"
    NOISE = (
        "set noise_read (grey levels, e.g. [0, 25]), noise_gain, or noise_from, a stack of "
        "repeated frames"
    )
    QUALITY = "set jpeg_quality, e.g. [5, 95]"
    DIVERGED = (
        "lower lr, or lower clip_value (theta, for adjustable clipping), and start again in a new "
        "folder"
    )
    COLLAPSED = "check that the images are sharp, raise lr, or use the preset fast"


class Advised(str):
    """A text for people whose last part, what to do next, is data; as a string it is neutral.

    Parameters
    ----------
    statement : str
        What is the case: whole sentences, or a clause without a full stop.
    remedy : Remedy, optional
        What can be done.
    **values
        For the remedy's placeholders.
    """

    statement: str
    remedy: Remedy | None
    values: dict[str, Any]

    def __new__(cls, statement: str, remedy: Remedy | None = None, **values: Any) -> Self:
        text = statement
        if remedy is not None:
            text = _joined(statement, remedy.value.format_map(values))
        made = super().__new__(cls, text)
        made.statement, made.remedy, made.values = statement, remedy, values
        return made

    def on_one_line(self) -> Advised:
        """Same text as one line, fit to be shown."""
        return Advised(shown(self.statement), self.remedy, **self.values)

    def of(self, what: object) -> Advised:
        """Same text, begun by what it is about."""
        return Advised(f"{what}: {self.statement}", self.remedy, **self.values)


def worded(text: str, words: Mapping[Remedy, str]) -> str:
    """Return a text with what to do next in a door's own words."""
    if not isinstance(text, Advised) or text.remedy is None:
        return str(text)
    return _joined(text.statement, words[text.remedy].format_map(text.values))


def _joined(statement: str, advice: str) -> str:
    """Sentences are followed by a sentence, a clause by a clause."""
    if statement.endswith((".", "!", "?")):
        return f"{statement} {advice[:1].upper()}{advice[1:]}."
    return f"{statement}; {advice}"
