# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What every entry point does alike: flags, one-line errors, exit codes."""

import sys
import traceback
from collections.abc import Callable, Mapping

from absl import app, flags

DEBUG = flags.DEFINE_bool("debug", False, "show the traceback of an error", module_name="experiments")

# What a user can mend: a value, a path. Configs and flags are parsed before `main`, with a wider net.
USER_ERRORS = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
PARSE_ERRORS = (*USER_ERRORS, flags.Error, KeyError, AttributeError, TypeError, ImportError)


def run(main: Callable[[], int | None], exit_codes: Mapping[type[Exception], int] | None = None) -> None:
    """Parses flags, calls `main`, and leaves the process with its exit code.

    A user's mistake is one line on stderr and exit code 2 (the traceback comes first with `--debug`);
    anything unforeseen is a traceback and exit code 1.

    Args:
      main: what the entry does; its result is the exit code, None is 0.
      exit_codes: further exceptions that are one line on stderr, each with its exit code.
    """
    codes = dict(exit_codes or {})

    def guarded(argv: list[str]) -> int | None:
        try:
            if len(argv) > 1:
                raise ValueError(f"{argv[1]!r} is not a flag: write --name=value")
            return main()
        except (*codes, *USER_ERRORS) as error:
            return _report(error, next((code for kind, code in codes.items() if isinstance(error, kind)), 2))

    app.run(guarded, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except PARSE_ERRORS as error:
        sys.exit(_report(error, 2))


def _report(error: Exception, code: int) -> int:
    if any(flag in sys.argv for flag in ("--debug", "--debug=true", "-debug")):  # also before flags are parsed
        traceback.print_exception(error)
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    print(f"error: {' '.join(str(text).split())}", file=sys.stderr)
    return code
