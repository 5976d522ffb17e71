"""Flag parsing, printing and exit shared by the commands."""

import os
import pathlib
import re
import sys
import textwrap
import traceback

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from mer_jax.errors import one_line, printable

CONFIG = (
    'FILE or FILE:VARIANT, a Python file that returns a config; configs/ holds some. '
    '--config.KEY=VALUE changes a key of it.'
)
PRINT_CONFIG = (
    'Print the keys of the config with their values, meanings, units and sources, and end; '
    '--print_config=learn.cal prints those that begin so.'
)
ALL = 'true'  # the value of --print_config without one
HELP = ('--help', '-help', '-h', '--helpshort', '-helpshort')
WIDTH = 100
NO_CONFIG = '--config={}: get_config() must return a ConfigDict, and returns {}; return the config'
NO_KEYS = re.compile(  # said of a config that is a number or the like: its first key is missing
    r"Attribute <class '?(\w+)'?>\.(\w+) .* Attempting to lookup: \2\."
)


def leave(message: str, status: int = 1, at_once: bool = False) -> None:
    """Prints a message and ends the process with this status.

    `at_once`: without waiting for threads, such as one that saves into a bucket.
    """
    print(f'mer_jax: {printable(message)}', file=sys.stderr, flush=True)
    if at_once or (jax.distributed.is_initialized() and jax.process_count() > 1):
        os._exit(status)  # a normal exit would wait for processes that wait for this one
    raise SystemExit(status)


def define_print_config() -> flags.FlagHolder:
    """Defines --print_config, whose value is the beginning of keys; without one it is ALL."""
    kinds = flags.ArgumentParser(), flags.ArgumentSerializer()
    flag = flags.Flag(*kinds, 'print_config', None, PRINT_CONFIG, boolean=True)
    return flags.DEFINE_flag(flag)


def prefix_of(asked: str) -> str:
    """The beginning of the keys that --print_config asks for."""
    return '' if asked == ALL else asked


def overridden() -> list[str]:
    """The keys of the config that flags have set."""
    return list(config_flags.get_override_values(flags.FLAGS['config']))


def help_text(about: str) -> str:
    """One screen about a command: its docstring, then the flags of this package alone."""
    lines = [about.strip(), '', 'Flags:']
    for module, held in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith('mer_jax') or module in ('__main__', sys.argv[0]):
            for flag in held:
                usual = '' if flag.default in (None, False, []) else f' (default {flag.default})'
                told = f'--{flag.name}: {flag.help}{usual}'
                lines += textwrap.wrap(
                    told, WIDTH - 2, initial_indent='  ', subsequent_indent='      '
                )
    return '\n'.join(lines)


def read_flags(arguments: list[str], default: str, about: str = '') -> list[str]:
    """Parses flags of absl; the arguments that are left, the program alone.

    --help prints `about` and the flags of this package, and ends the process.
    `default` is the file of the config where --config is not given. Flags must not define it, for
    absl would read it, and keys that it lacks would raise, while a command is imported.
    Exits with a message that names a config file that cannot be used, an unknown key, a value of
    the wrong type, or an argument that is not a flag.
    """
    if about and any(argument in HELP for argument in arguments[1:]):
        print(help_text(about))
        raise SystemExit(0)
    file = config_file(arguments)
    if file is None:
        file, arguments = default, [arguments[0], f'--config={default}', *arguments[1:]]
    if not pathlib.Path(file).is_file():
        leave(f'--config={file}: no such file; name a config, e.g. configs/mer_r1.py', 2)
    try:
        left = flags.FLAGS(arguments)
    except Exception as error:  # a config file is code, and may raise anything
        leave(told_of(error, arguments, file), 2)
    held = flags.FLAGS['config'].value
    if not isinstance(held, ConfigDict):
        leave(NO_CONFIG.format(file, type(held).__name__), 2)
    if len(left) > 1:
        leave(f'{" ".join(left[1:])}: is not a flag; keys of the config begin with --config.')
    return left


def config_file(arguments: list[str]) -> str | None:
    """The file that --config names, without a variant; None if it is not given."""
    named = None
    for argument, following in zip(arguments, [*arguments[1:], ''], strict=True):
        flag, equals, value = argument.partition('=')
        if flag in ('--config', '-config'):
            named = value if equals else following
    return named if named is None else named.partition(':')[0]


def told_of(error: Exception, arguments: list[str], file: str) -> str:
    """The message for an error that flags or the config file raised."""
    reason = ' '.join(str(error).replace('\\n', ' ').replace('\\', '').split())
    if isinstance(error, SyntaxError):
        return f'--config={error.filename}: line {error.lineno}: {error.msg}; mend the file'
    if raised := raised_in(error, file):
        line, cause = raised
        told = f'line {line} raises {one_line(cause)}; mend the file or its variant'
        return f'--config={file}: {told}'
    if "no attribute 'get_config'" in reason:
        return f'--config={file}: must define get_config(), a function that returns the config'
    if found := NO_KEYS.search(reason):
        return NO_CONFIG.format(file, found[1])
    named = [a for a in arguments if any(f"'{key}'" in reason for key in keys_of(a))]
    if isinstance(error, AttributeError | KeyError):
        named = named or [a for a in arguments if a.startswith('--config.')]
        told = reason.strip('"').replace("'", '')
        return f'{" ".join(named)}: the config has no such key: {told}'
    if isinstance(error, flags.Error | TypeError | ValueError | OSError):
        lines = str(error).strip().splitlines()
        # A config that raises is reported with its traceback; the message is its last line.
        return lines[-1] if any('Traceback' in line for line in lines) else ' '.join(lines)
    raise error


def raised_in(error: BaseException, file: str) -> tuple[int, BaseException] | None:
    """The line of the config file at which it raised, and its error; None if it did not."""
    chain, found = [error], None
    while chain[-1].__context__:
        chain.append(chain[-1].__context__)
    for link in chain:
        for frame, line in traceback.walk_tb(link.__traceback__):
            if os.path.abspath(frame.f_code.co_filename) == os.path.abspath(file):
                found = line, link
    return found


def keys_of(argument: str) -> list[str]:
    """The keys on the path of a flag such as --config.learn.kl=0.1."""
    return argument.partition('=')[0].lstrip('-').split('.')[1:]
