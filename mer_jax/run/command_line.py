"""Flag parsing, printing and exit shared by the commands."""

import os
import sys

import jax
from absl import flags


def printable(text: str) -> str:
    """The text on one line; letters that cannot be printed are escaped.

    Names of files may hold any bytes; those that are not UTF-8 reach Python as lone surrogates.
    """
    return ''.join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def leave(message: str, status: int = 1) -> None:
    """Prints a message and ends the process with this status."""
    print(f'mer_jax: {printable(message)}', file=sys.stderr, flush=True)
    if jax.distributed.is_initialized() and jax.process_count() > 1:
        os._exit(status)  # a normal exit would wait for processes that wait for this one
    raise SystemExit(status)


def read_flags(arguments: list[str]) -> list[str]:
    """Parses flags of absl; the arguments that are left, the program alone.

    Exits with a message that names an unknown key, a value of the wrong type, or an argument that
    is not a flag.
    """
    try:
        left = flags.FLAGS(arguments)
    except (AttributeError, KeyError) as error:
        reason = ' '.join(str(error.args[0]).replace('\\n', ' ').replace('\\', '').split())
        named = [a for a in arguments if any(f"'{key}'" in reason for key in keys_of(a))]
        named = named or [a for a in arguments if a.startswith('--config.')]
        told = reason.replace("'", '')
        leave(f'{" ".join(named)}: the config has no such key: {told}', 2)
    except (flags.Error, TypeError, ValueError, OSError, SyntaxError) as error:
        lines = str(error).strip().splitlines()
        # A config that raises is reported with its traceback; the message is its last line.
        leave(lines[-1] if any('Traceback' in line for line in lines) else ' '.join(lines), 2)
    if len(left) > 1:
        leave(f'{" ".join(left[1:])}: is not a flag; keys of the config begin with --config.')
    return left


def keys_of(argument: str) -> list[str]:
    """The keys on the path of a flag such as --config.learn.kl=0.1."""
    return argument.partition('=')[0].lstrip('-').split('.')[1:]
