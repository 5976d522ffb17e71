"""Command lines whose files may have names that begin with a dash."""

import argparse
import os
import pathlib
import sys

HINT = "a file whose name begins with '-' comes last, after -- (or write ./-name)"


def parse_files(
    parser: argparse.ArgumentParser, key: str, arguments: list[str] | None = None
) -> argparse.Namespace:
    """The parsed arguments; `key` is the list of files among them.

    An argument such as -3g5y.mp4 is a file if there is one of this name, and no flag. If parsing
    fails where an argument looks like such a file, the message says how to name it.
    """
    given = sys.argv[1:] if arguments is None else arguments
    flags = given[: given.index('--')] if '--' in given else given
    dashed = [one for one in flags if _looks_like_a_file(one)]
    files = {f'./{one}': one for one in dashed if os.path.isfile(one)}
    shielded = [f'./{one}' if one in files.values() else one for one in flags]
    told = parser.error
    if dashed:
        parser.error = lambda message: told(f'{message}; {HINT}')
    asked = parser.parse_args([*shielded, *given[len(flags) :]])
    vars(asked)[key] = [files.get(one, one) for one in vars(asked)[key]]
    return asked


def _looks_like_a_file(argument: str) -> bool:
    """Whether an argument begins with a dash and ends as the names of files do."""
    return argument.startswith('-') and '=' not in argument and bool(pathlib.Path(argument).suffix)
