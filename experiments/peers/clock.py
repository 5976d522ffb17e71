"""Flags, watched calls and the load of the machine, shared by the timings of peers."""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable


def watch(owner, kind: type, name: str, seconds: dict[str, list], see: Callable) -> None:
    """Keep the seconds of each call of a method of `owner`, including `see` of its result."""
    method = vars(kind)[name].__get__(owner)

    def watched(*given, **named):
        start = time.perf_counter()
        result = method(*given, **named)
        see(result)
        seconds[name].append(time.perf_counter() - start)
        return result

    setattr(owner, name, watched)


def now() -> tuple[float, float]:
    """The time, and the CPU seconds of all other processes since the machine started (Linux)."""
    user, nice, system = map(int, pathlib.Path('/proc/stat').read_text().split()[1:4])
    used = (user + nice + system) / os.sysconf('SC_CLK_TCK')
    return time.perf_counter(), used - time.process_time()


def print_line(parser: argparse.ArgumentParser, measure: Callable) -> None:
    """Add the flags of every peer, parse them, and print `measure` of them as a JSON line."""
    parser.add_argument('--prompts', type=int, default=4)
    parser.add_argument('--group', type=int, default=8, help='branches of a prompt')
    parser.add_argument('--new', type=int, default=64, help='tokens that a branch grows')
    parser.add_argument('--repeats', type=int, default=3, help='steps timed, after one to warm up')
    flags = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        line = measure(flags)
    print(json.dumps(line))
