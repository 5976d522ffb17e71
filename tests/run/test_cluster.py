"""Joining the processes of a run: by a launcher's variables, by flags, or not at all."""

import socket

import jax
import pytest

from mer_jax.run.cluster import check_alone, join, launched_by

SLURM = {'SLURM_JOB_ID': '7', 'SLURM_STEP_NUM_TASKS': '4', 'SLURM_PROCID': '2'}


@pytest.fixture
def joined(monkeypatch):
    """The arguments with which JAX was told to join; it then sees four processes."""
    calls = []

    def initialize(*given, heartbeat_timeout_seconds, initialization_timeout):
        assert heartbeat_timeout_seconds == 100 and initialization_timeout > 300
        calls.append(given)

    monkeypatch.setattr(jax.distributed, 'initialize', initialize)
    monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: bool(calls))
    monkeypatch.setattr(jax, 'process_count', lambda: 4 if calls else 1)
    return calls


@pytest.mark.parametrize(
    ('environment', 'launcher', 'processes'),
    [
        (SLURM, 'Slurm', 4),
        ({'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_RANK': '0'}, 'Open MPI', 2),
        ({'PMI_SIZE': '3'}, 'MPI', 3),
        ({'TPU_WORKER_HOSTNAMES': 'a,b,c,d', 'TPU_WORKER_ID': '1'}, 'A TPU slice', 4),
        ({'TPU_PROCESS_ADDRESSES': 'a:1,b:1'}, 'A TPU slice', 2),
        ({'TPU_WORKER_HOSTNAMES': 'a,b', 'MEGASCALE_NUM_SLICES': '2'}, 'A TPU slice', 4),
        ({'MEGASCALE_NUM_SLICES': '2', 'TPU_WORKER_HOSTNAMES': 'a'}, 'A TPU slice', 2),
        ({'JOB_COMPLETION_INDEX': '0', 'JOBSET_NAME': 'mer'}, 'A JobSet', 0),
    ],
)
def test_a_launcher_of_several_processes_is_known_by_its_variables(
    environment, launcher, processes
):
    found = launched_by(environment)
    assert (found.launcher, found.processes) == (launcher, processes)


@pytest.mark.parametrize(
    'environment',
    [
        {},
        {'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '4', 'SLURM_PROCID': '0'},  # a script without srun
        SLURM | {'SLURM_STEP_NUM_TASKS': '1'},
        {'OMPI_COMM_WORLD_SIZE': '1'},
        {'TPU_WORKER_HOSTNAMES': 'localhost'},
        {'JOB_COMPLETION_INDEX': '3', 'KUBERNETES_SERVICE_HOST': '10.0.0.1'},  # one of many runs
    ],
)
def test_one_process_alone_has_no_launcher(environment):
    assert launched_by(environment) is None


def test_processes_of_a_launcher_join_by_themselves_and_say_so(joined, capsys):
    join('auto', None, None, None, 100, 300, SLURM)
    assert joined == [()]
    said = capsys.readouterr().err
    assert 'Slurm has started 4 processes' in said and '--distributed=off' in said


def test_a_process_alone_joins_nothing(joined):
    join('auto', None, None, None, 100, 300, {})
    assert joined == []


@pytest.mark.parametrize('switch', ['auto', 'on'])
def test_flags_that_name_the_processes_are_used(joined, switch):
    join(switch, 'host:1', 4, 2, 100, 300, {})
    assert joined == [('host:1', 4, 2)]


def test_the_switch_alone_leaves_the_processes_to_jax(joined):
    join('on', None, None, None, 100, 300, {})
    assert joined == [(None, None, None)]


def test_processes_of_a_launcher_are_separate_runs_where_told(joined):
    join('off', None, None, None, 100, 300, SLURM)
    assert joined == []


def test_flags_that_name_processes_contradict_off(joined):
    with pytest.raises(ValueError, match='--distributed=off.*--coordinator.*leave them out'):
        join('off', 'host:1', None, None, 100, 300, {})


def test_processes_that_jax_cannot_join_are_refused(monkeypatch, joined):
    def fail(*_, heartbeat_timeout_seconds, initialization_timeout):
        raise ValueError('coordinator_address should be defined.')

    monkeypatch.setattr(jax.distributed, 'initialize', fail)
    told = r'Open MPI has started 2 .*coordinator_address should.*--coordinator=HOST.*=off'
    with pytest.raises(ValueError, match=told):
        join('auto', None, None, None, 100, 300, {'OMPI_COMM_WORLD_SIZE': '2'})
    with pytest.raises(ValueError, match='several processes.* JAX cannot join them.*--coordinator'):
        join('on', None, None, None, 100, 300, {})


def test_another_number_of_processes_than_the_launcher_has_started_is_refused(joined):
    with pytest.raises(ValueError, match='Slurm has started 8 processes, but JAX finds 4'):
        join('auto', None, None, None, 100, 300, SLURM | {'SLURM_STEP_NUM_TASKS': '8'})


def test_a_host_of_a_slice_that_was_not_told_of_the_others_is_refused():
    check_alone(1)
    with pytest.raises(ValueError, match='--distributed: must be given.*a slice of 4 hosts'):
        check_alone(4)


def test_a_port_in_use_is_refused_by_the_process_that_would_listen_there(joined):
    with socket.socket(socket.AF_INET6) as other:
        other.bind(('::', 0))
        other.listen()
        coordinator = f'localhost:{other.getsockname()[1]}'
        with pytest.raises(ValueError, match=f'--coordinator={coordinator}: the port is in use'):
            join('on', coordinator, 2, 0, 100, 300, {})
        assert joined == []
        join('on', coordinator, 2, 1, 100, 300, {})  # connects to it
        assert len(joined) == 1
