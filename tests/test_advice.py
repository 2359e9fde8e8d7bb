"""Errors and notes carry what to do next as data; each door has words of its own for it."""

import ast
import copy
import pickle
import re
from pathlib import Path
from string import Formatter

import pytest

import napari_vdsr
from napari_vdsr.advice import Advised, Remedy, worded
from napari_vdsr.cli import words as command_line
from napari_vdsr.errors import ImageFileError, MissingExtraError, VdsrError

SOURCE = Path(napari_vdsr.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z]")
PYTHON = re.compile(r"`|\w\(\)|\b[a-z_]+='")


def placeholders(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("remedy", Remedy, ids=lambda remedy: remedy.name)
class TestDoors:
    def check(self, remedy, words):
        text = words[remedy]
        assert placeholders(text) <= placeholders(remedy.value) | {"name", "axes"}
        assert text and not text.endswith(".")
        return text

    def test_command_line(self, remedy):
        assert not PYTHON.search(self.check(remedy, command_line.WORDS))

    def test_window(self, remedy):
        words = pytest.importorskip("napari_vdsr.plugin.words")
        text = self.check(remedy, words.WORDS)
        assert not OPTION.search(text) and not PYTHON.search(text)

    def test_neutral(self, remedy):
        assert not OPTION.search(remedy.value) and not PYTHON.search(remedy.value)


def texts(path):
    """Strings of a module that are not documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documentation:
                yield node.lineno, node.value


def raised(path):
    """Strings within calls that make errors."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            if name.endswith("Error") or name in ("failure", "damaged", "Advised"):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.lineno, part.value


# The command line itself, and what makes one for a process of its own.
COMMANDS = {"plugin/batch_form.py", "plugin/batch_runs.py"}
CORE = [
    path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.relative_to(SOURCE).parts[0] != "cli"
    and path.relative_to(SOURCE).as_posix() not in COMMANDS
]


@pytest.mark.slow
@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_options_are_named_by_the_command_line_alone(path):
    assert [(line, text) for line, text in texts(path) if OPTION.search(text)] == []
    assert [(line, text) for line, text in raised(path) if PYTHON.search(text)] == []


class TestAdvised:
    def test_a_sentence_is_followed_by_a_sentence(self):
        text = Advised("NaN is there.", Remedy.FILL_NAN)
        assert text == "NaN is there. Give a value to put there."
        said = command_line.say(text)
        assert said == "NaN is there. Pass a value to put there: --fill-nan 0."

    def test_a_clause_is_followed_by_a_clause(self):
        note = Advised("read as T", Remedy.NAME_AXES, axes="ZYX")
        assert note == "read as T; name the axes, such as ZYX, to say otherwise"
        assert command_line.say(note) == "read as T; pass --axes ZYX to say otherwise"

    def test_plain_text_is_said_as_it_is(self):
        assert worded("a {brace}", {}) == "a {brace}"
        assert command_line.say("two\nlines") == r"two\nlines"

    def test_what_it_is_of_comes_first(self):
        told = Advised("damaged.", Remedy.EXCLUDE, name="a{b}.tif").of("a{b}.tif")
        assert told == "a{b}.tif: damaged. Leave it out."
        assert command_line.say(told).endswith("Leave it out: --exclude a{b}.tif.")

    def test_copies_keep_the_remedy(self):
        for make in (copy.copy, copy.deepcopy, lambda told: pickle.loads(pickle.dumps(told))):
            made = make(Advised("a.", Remedy.NAME_AXES, axes="ZYX"))
            assert (made.statement, made.remedy, made.values) == (
                "a.", Remedy.NAME_AXES, {"axes": "ZYX"}
            )  # fmt: skip


@pytest.mark.parametrize("kind", [VdsrError, ImageFileError, MissingExtraError])
class TestErrors:
    def test_survive_pickling(self, kind):
        error = pickle.loads(pickle.dumps(kind("full.", Remedy.COMPRESS)))
        assert type(error) is kind and error.told.remedy is Remedy.COMPRESS
        assert str(error) == f"full. {Remedy.COMPRESS.value.capitalize()}."

    def test_are_worded_by_a_door(self, kind):
        error = kind("full.", Remedy.COMPRESS).worded(command_line.WORDS)
        assert type(error) is kind and "--compression zlib" in str(error)
        assert str(error.worded({})) == str(error)
