"""What the timings of peers share: calls watched by name, and how busy the machine was besides."""

import os
import pathlib
import time
from collections.abc import Callable


def watch(owner, kind: type, name: str, seconds: dict[str, list], see: Callable) -> None:
    """Note how long each call of a method of `owner` takes, `see` of its result included."""
    method = vars(kind)[name].__get__(owner)

    def watched(*given, **named):
        start = time.perf_counter()
        result = method(*given, **named)
        see(result)
        seconds[name].append(time.perf_counter() - start)
        return result

    setattr(owner, name, watched)


def now() -> tuple[float, float]:
    """The time, and the CPU seconds that all other processes have used since the start (Linux)."""
    user, nice, system = map(int, pathlib.Path('/proc/stat').read_text().split()[1:4])
    used = (user + nice + system) / os.sysconf('SC_CLK_TCK')
    return time.perf_counter(), used - time.process_time()
