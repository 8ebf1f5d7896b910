"""The ``tagstrain`` command: its subcommands and the one place where errors become exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import tagstrain
from tagstrain.cli.adapt import adapt
from tagstrain.cli.analyze import analyze
from tagstrain.cli.evaluate import evaluate
from tagstrain.cli.exits import CommandExit, ExitCode, Terminated, code_of_interruption
from tagstrain.cli.import_tf1 import export_tf1, import_tf1
from tagstrain.cli.info import info
from tagstrain.cli.listen import listen
from tagstrain.cli.messages import print_error
from tagstrain.cli.predict import predict
from tagstrain.cli.prepare_cim import prepare_cim
from tagstrain.cli.report import report
from tagstrain.cli.simulate import simulate
from tagstrain.cli.track import track
from tagstrain.cli.train import train
from tagstrain.errors import InputError, TagstrainError

app = typer.Typer(
    name="tagstrain",
    help="Tagged cardiac MRI in, myocardial strain out. Research software: not for diagnostic use.",
    epilog="Exit codes: 0 all done, 1 usage or internal error, 2 input cannot be read, "
    "3 some slices or studies failed, 130 or 143 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,  # panels cut long option names short, and break errors that scripts search
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(analyze)
app.command()(track)
app.command()(evaluate)
app.command()(info)
app.command()(report)
app.command()(simulate)
app.command()(predict)
app.command()(train)
app.command()(adapt)
app.command()(listen)
app.command()(prepare_cim)
app.command()(import_tf1)
app.command()(export_tf1)


def _print_version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        typer.echo(f"tagstrain {tagstrain.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options that come before the subcommand."""


def run(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the command line and say how it went; errors about the input are printed, mistakes in the program raise.

    Parameters
    ----------
    arguments
        What follows the program's name; None takes those of this process.
    """
    Terminated.was_raised = False
    try:
        app(None if arguments is None else list(arguments), prog_name="tagstrain")
    except CommandExit as done:
        return done.code
    except InputError as error:
        print_error(str(error))
        code = ExitCode.UNREADABLE
    except TagstrainError as error:
        print_error(str(error))
        code = ExitCode.ERROR
    except SystemExit as stop:
        # typer ends so, with 2 on a usage error, which here means that the input cannot be read. What trains ends with
        # an exception of its own on SIGTERM, without a code.
        if type(stop) is SystemExit and stop.code in (None, 0):
            return ExitCode.DONE
        code = _code_if_interrupted(stop) or ExitCode.ERROR
    except Exception as error:
        # Batch systems stop all processes at once: that a worker ended may be seen while SIGTERM is being handled.
        interrupted = _code_if_interrupted(error)
        if interrupted is None and not Terminated.was_raised:
            raise
        code = interrupted or ExitCode.TERMINATED
    else:
        return ExitCode.DONE
    return ExitCode.TERMINATED if Terminated.was_raised else code


def _code_if_interrupted(error: BaseException | None) -> ExitCode | None:
    """What a command ends with that ended in an error since it was interrupted; None where it was not."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return None if error is None else code_of_interruption(error)


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, Terminated.handle)
    sys.exit(run())
