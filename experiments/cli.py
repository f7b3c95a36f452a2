# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What every entry point does alike: flags, one-line errors, exit codes."""

import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Mapping

from absl import app, flags, logging
from ml_collections import config_flags

from dit_jax.process import prepare

DEBUG = flags.DEFINE_bool("debug", False, "show the traceback of an error", module_name="experiments")

# What a user can mend: a value, a path. Configs and flags are parsed before `main`, with a wider net.
PATH_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
USER_ERRORS = (ValueError, *PATH_ERRORS)
PARSE_ERRORS = (*USER_ERRORS, flags.Error, SyntaxError, TypeError, ImportError, OSError)


_CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
_default_config: list[str] = []


def numbers(pairs: list[str]) -> dict[str, float]:
    """`NAME=NUMBER` pairs of a flag."""
    try:
        return {name: float(value) for name, value in (pair.split("=") for pair in pairs)}
    except ValueError as error:
        raise ValueError(f"{pairs} must each be NAME=NUMBER, such as motion=4.0") from error


def define_config(default: str) -> flags.FlagHolder:
    """`--config=FILE` and `--config.section.key=value`, with a file of `configs/` where none is given."""
    # Not as the flag's own default: overrides of that are parsed here and now, outside of `run`'s net.
    _default_config[:] = [str(_CONFIGS / default)]
    return config_flags.DEFINE_config_file("config", None, f"config file; by default configs/{default}")


def run(
    main: Callable[[], int | None],
    exit_codes: Mapping[type[Exception], int] | None = None,
    *,
    several_processes: bool = False,
) -> None:
    """Parses flags, calls `main`, and leaves the process with its exit code.

    A user's mistake is one line on stderr and exit code 2 (the traceback comes first with `--debug`);
    anything unforeseen is a traceback and exit code 1.

    Args:
      main: what the entry does; its result is the exit code, None is 0.
      exit_codes: further exceptions that are one line on stderr, each with its exit code.
      several_processes: whether several, on one or many hosts, can be one call of this entry.
    """
    codes = dict(exit_codes or {})

    def guarded(argv: list[str]) -> int | None:
        try:
            if len(argv) > 1:
                raise ValueError(f"{argv[1]!r} is not a flag: write --name=value")
            prepare()
            _join_hosts(several_processes)
            return main()
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
        except (*codes, *USER_ERRORS) as error:
            return _report(error, next((code for kind, code in codes.items() if isinstance(error, kind)), 2))

    logging.set_verbosity(logging.WARNING)
    if {"--help", "-help", "-h"} & set(sys.argv[1:]):
        print(_help())
        sys.exit(0)
    app.run(guarded, flags_parser=_parse)


def _join_hosts(several: bool) -> None:
    """Where the environment speaks of several processes; without, JAX is not even imported. All but the first are
    silent, errors apart."""
    if any(name.startswith(("JAX_COORDINATOR", "JAX_NUM_PROC", "SLURM_STEP_NUM_T")) for name in os.environ):
        if not several and os.environ.get("SLURM_STEP_NUM_TASKS") != "1":
            raise ValueError(
                "several processes, of which the environment speaks (JAX_NUM_PROCESSES, srun), are for "
                "experiments.train: start this entry once"
            )
        from dit_jax.hosts import is_first
        from dit_jax.mesh import initialise_hosts

        initialise_hosts()
        if not is_first():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process


def _help() -> str:
    """What the entry does, and its own flags."""
    modules = [name for name in flags.FLAGS.flags_by_module_dict() if name.startswith("experiments")]
    modules += [sys.argv[0]] if sys.argv[0] in flags.FLAGS.flags_by_module_dict() else []
    text = sys.modules["__main__"].__doc__ or ""
    return text + "".join(flags.FLAGS.module_help(name) for name in modules)


def _parse(argv: list[str]) -> list[str]:
    if _default_config and not any(arg.lstrip("-").split("=")[0] == "config" for arg in argv[1:]):
        argv = [argv[0], f"--config={_default_config[0]}", *argv[1:]]
    try:
        rest = flags.FLAGS(argv)
        if _default_config:
            flags.FLAGS.config.lock()  # a file that could not be read says so when it is touched first
        return rest
    except (KeyError, AttributeError) as error:
        sys.exit(_report(_unknown_key(error), 2))
    except PARSE_ERRORS as error:
        sys.exit(_report(_without_traceback(error), 2))


def _without_traceback(error: Exception) -> Exception:
    """What a config file says of its argument is folded into a traceback: that is for `--debug`."""
    flag, _, trace = str(error).partition("Error whilst parsing config file:")
    _, said, reason = trace.rpartition("\nValueError: ")
    return ValueError(flag + reason) if said else error


def _unknown_key(error: Exception) -> Exception:
    """The config's complaint, with advice where it has none."""
    text = str(error.args[0]).replace("\\n", " ").replace("\\", "")
    text = re.sub(r"^[\"']*([\w.]+)[\"']*", r"\1", text).rstrip("\"'")
    text = text.replace(" Did you mean", ": did you mean")
    advice = "" if "did you mean" in text else ": the config file lists the valid ones"
    return ValueError(f"unknown config key {text}{advice}")


def _report(error: Exception, code: int) -> int:
    if {"--debug", "-debug", "--debug=true"} & set(sys.argv):  # flags may not have been parsed
        traceback.print_exception(error)
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
