"""The processes of one run compare their configs, code and data before they compute together."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import jax
from jax._src import distributed  # the store that all processes share has no public name

from mer_jax.errors import one_line

KEY = 'mer_jax/start'
LOOK = 5_000  # milliseconds until a request is repeated; JAX ends this process if another is lost
READ = 30_000  # milliseconds that a process waits until all others have read its message
SHOWN = 3  # keys that a message names
PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def agree(facts: Mapping[str, object], error: Exception | None = None) -> None:
    """Returns if no process has an error and all have the same facts; raises in all otherwise.

    Facts are JSON values by name. A process with an error raises it, the others a ValueError with
    its message. All processes of a run must call this once.
    """
    told = []
    if jax.process_count() > 1:
        mine = {'error': '' if error is None else message_of(error), 'facts': dict(facts)}
        client = distributed.global_state.client
        told = exchange(client, jax.process_index(), jax.process_count(), mine)
    if error is not None:
        raise error
    check_same(told)


def meet() -> None:
    """Returns once all processes have called it.

    Before the first computation of all: on CPUs that waits for no process longer than 30 s.
    """
    if jax.process_count() == 1:
        return
    client = distributed.global_state.client
    client.key_value_set(f'{KEY}/met/{jax.process_index()}', 'here')
    for number in range(jax.process_count()):
        value_of(client, f'{KEY}/met/{number}')


def message_of(error: Exception) -> str:
    """The message of an error for other processes; with its type where it is no plain refusal."""
    return str(error) if isinstance(error, ValueError) else one_line(error)


def exchange(client, process: int, processes: int, mine: dict) -> list[dict]:
    """The values of all processes, in order; each waits until all have read them."""
    client.key_value_set(f'{KEY}/{process}', json.dumps(mine))
    told = [json.loads(value_of(client, f'{KEY}/{number}')) for number in range(processes)]
    try:
        client.wait_at_barrier(f'{KEY}/read', READ)
    except jax.errors.JaxRuntimeError:
        pass  # a process that has ended has nothing more to read
    return told


def value_of(client, key: str) -> str:
    """The value of a key in the shared store, once a process has set it."""
    while True:
        try:
            return client.blocking_key_value_get(key, LOOK)
        except jax.errors.JaxRuntimeError as error:
            if 'DEADLINE_EXCEEDED' not in str(error):
                raise ValueError(
                    f'--distributed: a process of this run has ended at the start '
                    f'({one_line(error)}); its own message says why. Start all processes again'
                ) from None


def check_same(told: Sequence[dict]) -> None:
    """Raises ValueError if a process has an error, or a fact that differs from process 0."""
    for process, one in enumerate(told):
        if one['error']:
            raise ValueError(f'process {process} cannot start: {one["error"]}')
    keys = dict.fromkeys(key for one in told for key in one['facts'])
    different = [key for key in keys if len(processes_by_value(told, key)) > 1]
    if different:
        said = [
            f'{key}='
            + ', but '.join(
                f'{value} in process {", ".join(map(str, processes))}'
                for value, processes in processes_by_value(told, key).items()
            )
            for key in different[:SHOWN]
        ]
        more = f'; {len(different) - SHOWN} more keys differ' if len(different) > SHOWN else ''
        raise ValueError(
            f'{"; ".join(said)}{more}: all processes of a run need the same config, code and data; '
            'start the same command in each'
        )


def processes_by_value(told: Sequence[dict], key: str) -> dict[str, list[int]]:
    """The processes that have each value of a fact, the value as JSON; 'nothing' without it."""
    found: dict[str, list[int]] = {}
    for process, one in enumerate(told):
        value = json.dumps(one['facts'][key]) if key in one['facts'] else 'nothing'
        found.setdefault(value, []).append(process)
    return found


def digest_of_code() -> str:
    """A hash of all Python files of the package: 16 hexadecimal digits."""
    held = hashlib.sha256()
    for path in sorted(PACKAGE.rglob('*.py')):
        held.update(path.relative_to(PACKAGE).as_posix().encode() + b'\0' + path.read_bytes())
    return held.hexdigest()[:16]
