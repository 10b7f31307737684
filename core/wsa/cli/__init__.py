"""The command line: one file a command; parse, call, print."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from wsa.cli.cache import cache
from wsa.cli.extract import extract
from wsa.cli.plugins import plugins
from wsa.cli.run import run
from wsa.cli.zoo import zoo
from wsa.errors import EXIT_INTERRUPTED, WsaError

app = typer.Typer(
    name="wsa",
    help="Weight-space analysis: what do trained weights know about how they were trained?",
    no_args_is_help=True,
    add_completion=False,
    # locals in a traceback would print tensors, paths and tokens
    pretty_exceptions_show_locals=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(extract)
app.command()(plugins)
app.add_typer(cache, name="cache")
app.add_typer(zoo, name="zoo")


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"wsa: warning: {message}", file=sys.stderr)


def main() -> None:
    """Run the command line; a `WsaError` is one line and its exit code, a bug a traceback."""
    # idle OpenMP threads that spin made one training epoch 100 times slower beside a busy process
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _say_warning
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except WsaError as problem:
        if debug:
            raise
        print(f"wsa: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except SystemExit as ended:
        if ended.code == EXIT_INTERRUPTED:
            print(
                "wsa: interrupted; nothing is half-written, run the same command again to go on",
                file=sys.stderr,
            )
        raise
