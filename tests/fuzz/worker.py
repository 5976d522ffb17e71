"""A process that reads the files named on its input, and tells of each how it went.

    python tests/fuzz/worker.py KIND

A line in is a path; a line out is JSON {"outcome", "seconds", "megabytes"}. Native decoders can end
the process; whoever started it sees that its output ends.
"""

import contextlib
import json
import logging
import os
import pathlib
import resource
import sys
import time
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests'), str(ROOT)]
ROOM = 4 << 30  # bytes of addresses beyond those taken after the first file


def kilobytes(name: str) -> int:
    """A value of /proc/self/status."""
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1])
    return 0


def measured(kind: str, path: pathlib.Path) -> dict:
    """The outcome of a file, its CPU time and the memory that it took beyond that before it."""
    from fuzz.readers import outcome_of

    with contextlib.suppress(OSError):
        pathlib.Path('/proc/self/clear_refs').write_text('5')  # resets the peak
    before, start = kilobytes('VmRSS'), time.process_time()
    outcome = outcome_of(kind, path)
    seconds = time.process_time() - start
    peak = kilobytes('VmHWM') - before
    return {'outcome': outcome, 'seconds': seconds, 'megabytes': max(peak, 0) / 1024}


def main() -> None:
    """Reads files until the input ends."""
    kind = sys.argv[1]
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    said = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # prints of libraries
    for line in sys.stdin:
        found = measured(kind, pathlib.Path(line.rstrip('\n')))
        print(json.dumps(found), file=said, flush=True)
        room = kilobytes('VmSize') * 1024 + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))


if __name__ == '__main__':
    main()
