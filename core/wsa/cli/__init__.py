"""The command line: one file a command; parse, call, print."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from typing import Any

import typer

from wsa.cli.bench import bench
from wsa.cli.cache import cache
from wsa.cli.compare import compare
from wsa.cli.extract import extract
from wsa.cli.inspect import inspect
from wsa.cli.pack import pack
from wsa.cli.plugins import plugins
from wsa.cli.run import run
from wsa.cli.zoo import zoo
from wsa.errors import EXIT_INTERRUPTED, EXIT_USAGE, EnvironmentProblem, WsaError
from wsa.interruption import ended, exit_code, handled
from wsa.progress import say

# what typer raises for a command line that does not parse; its own name for it is private
UsageProblem: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="wsa",
    help="Weight-space analysis: what do trained weights know about how they were trained? "
    "With --debug, an error keeps its traceback.",
    no_args_is_help=True,
    add_completion=False,
    # rich would take `[all]` in a help text for a style
    rich_markup_mode=None,
    # locals in a traceback would print tensors, paths and tokens
    pretty_exceptions_show_locals=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(extract)
app.command()(compare)
app.command()(inspect)
app.command()(bench)
app.command()(pack)
app.add_typer(plugins, name="plugins")
app.add_typer(cache, name="cache")
app.add_typer(zoo, name="zoo")


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"wsa: warning: {message}")


def _settle() -> None:
    """Settle how this process waits, warns and ends."""
    # beside a busy process a small training took 11.7 s with idle threads that spin, else 0.9 s
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Python ends by looking through all that was imported for garbage: 0.6 s of a run of 2.7
    atexit.register(gc.freeze)
    warnings.showwarning = _say_warning


def main() -> None:
    """Run the command line; a `WsaError` is one line and its exit code, a bug a traceback."""
    _settle()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        with handled():
            code = app(args=arguments, standalone_mode=False)
        # typer makes 130 of every interruption
        code = exit_code() or code
    except UsageProblem as problem:
        code = _tell_usage(problem)
    except (typer.Abort, KeyboardInterrupt):
        code = exit_code() or EXIT_INTERRUPTED
    except WsaError as problem:
        if debug:
            raise
        say(f"wsa: {problem}")
        code = problem.exit_code
    except OSError as problem:
        if debug:
            raise
        say(f"wsa: the machine refused: {problem}; --debug shows where")
        code = EnvironmentProblem.exit_code
    if code == EXIT_INTERRUPTED or exit_code() is not None:
        say("wsa: interrupted; nothing is half-written, run the same command again to go on")
    if ended() or _is_kept_alive():
        _leave(code or 0)
    sys.exit(code)


def _is_kept_alive() -> bool:
    """Tell, and say, whether a plugin's thread would keep the process from ending."""
    from wsa.surroundings import lingering

    if names := lingering():
        say(f"wsa: not waiting for what plugins left running: {', '.join(names)}")
    return bool(names)


def _leave(code: int) -> None:
    """End without waiting for threads: a fit of scikit-learn's may take a minute yet."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell_usage(problem: Any) -> int:
    """Tell of a command line that does not parse in one line; no command at all prints the help."""
    if len(sys.argv) == 1 or not problem.message:
        print(problem.ctx.get_help() if problem.ctx else "wsa --help")
        return EXIT_USAGE
    command = problem.ctx.command_path if problem.ctx else "wsa"
    message = " ".join(problem.format_message().split())
    say(f"wsa: {message.rstrip('.')}; see {command} --help")
    return EXIT_USAGE
