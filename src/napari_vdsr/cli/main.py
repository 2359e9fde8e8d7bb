"""Entry point: commands are found by name, errors become one line and an exit code."""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand

from napari_vdsr import __version__
from napari_vdsr.cli import (
    compare,
    curves,
    doctor,
    evaluate,
    finish,
    info,
    models,
    options,
    slurm,
    train,
    upscale,
)
from napari_vdsr.cli.words import say
from napari_vdsr.errors import VdsrError, unforeseen
from napari_vdsr.showing import shown

UNWRITTEN, ENVIRONMENT, INTERRUPTED = 1, 3, 130

app = typer.Typer(
    name="vdsr",
    epilog="Exit codes: 0 all done; 1 some inputs, the report or the log failed; 2 wrong usage; "
    "3 environment or model error; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NOTHING_KEPT = "nothing is kept, run it again"


class Command(TyperCommand):
    """A command that takes no empty words: mostly a script's variable is not set.

    An empty path would be the current folder, and any other empty value as if the option had not
    been given.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        end = args.index("--") if "--" in args else len(args)
        for before, word in pairwise(["", *args[:end]]):
            if re.match("-[A-Za-z]=", word):  # of which the value would begin with =
                told = f"write {word[:2]} {word[3:] or 'VALUE'}, with a space."
                raise typer.BadParameter(told, ctx, param_hint=word[:2])
            empty = re.fullmatch(r"(?:(--[^=]+)=)?\s*", word)
            if empty:
                raise _nothing(ctx, empty[1] or before)
        if not all(word.strip() for word in args[end:]):
            raise _nothing(ctx, "")
        return super().parse_args(ctx, args)


def _nothing(ctx: Any, option: str) -> typer.BadParameter:
    return typer.BadParameter(
        "got nothing. Give a value, or leave it out; a variable of a script may not be set.",
        ctx,
        param_hint=option if option.startswith("-") else "an argument",
    )


def with_exit_code(
    command: Callable[..., int | None], again: str = "the same command goes on where it stopped"
) -> Callable[..., None]:
    """Turn a command's result and errors into the process's exit code.

    Parameters
    ----------
    command : callable
        Returns an exit code, or None for 0.
    again : str
        What to do after Ctrl-C, if the command does not say so itself.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs) or 0
        except KeyboardInterrupt as error:
            told = "; ".join(say(part) for part in error.args) or again
            typer.echo(f"interrupted; {told}.", err=True)
            code = INTERRUPTED
        except VdsrError as error:
            if kwargs.get("debug"):
                raise
            typer.echo(f"error: {say(error)}", err=True)
            code = error.exit_code
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if kwargs.get("debug"):
                raise
            typer.echo(f"error: {say(unforeseen(error))}.", err=True)
            code = ENVIRONMENT
        unwritten = options.log_failure()
        if unwritten:
            typer.echo(f"error: {shown(unwritten)}", err=True)
        raise typer.Exit(code or (UNWRITTEN if unwritten else 0))

    return wrapper


command = functools.partial(app.command, cls=Command)
command(name="upscale")(with_exit_code(upscale.command))
command(name="finish")(with_exit_code(finish.command))
command(name="slurm")(with_exit_code(slurm.command, NOTHING_KEPT))
command(name="info")(with_exit_code(info.command, NOTHING_KEPT))
command(name="train")(with_exit_code(train.command, NOTHING_KEPT))
command(name="evaluate")(with_exit_code(evaluate.command, NOTHING_KEPT))
command(name="curves")(with_exit_code(curves.command, NOTHING_KEPT))
command(name="compare")(with_exit_code(compare.command, NOTHING_KEPT))
command(name="doctor")(with_exit_code(doctor.command, NOTHING_KEPT))
models_app = typer.Typer(no_args_is_help=True, help="List, show, add and remove models.")
models_command = functools.partial(models_app.command, cls=Command)
models_command(name="list")(with_exit_code(models.list_command, NOTHING_KEPT))
models_command(name="show")(with_exit_code(models.show_command, NOTHING_KEPT))
models_command(name="add")(with_exit_code(models.add_command, NOTHING_KEPT))
models_command(name="remove")(with_exit_code(models.remove_command, NOTHING_KEPT))
models_command(name="path")(with_exit_code(models.path_command, NOTHING_KEPT))
app.add_typer(models_app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vdsr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Super-resolution of scientific images with VDSR."""


def main() -> None:
    """Run the command and leave the process with its exit code."""
    # Read when torch is loaded. Spinning threads are several times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # A cluster's scheduler ends jobs with SIGTERM: clean up as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
