"""Two checkouts timed in turns: flags, turns, parsing and ratios of made-up lines."""

import json

import pytest

from experiments import side_by_side

PARTS = ('prefill', 'grow', 'echo', 'score', 'update', 'rollout', 'learn')
FAKE = """
import json, os, pathlib, sys
here = pathlib.Path(__file__).resolve().parents[1]
with (here.parent / 'calls').open('a') as file:
    file.write(json.dumps([here.name, os.getcwd(), os.environ['PYTHONPATH'], sys.argv[1:]]) + '\\n')
print('noise', file=sys.stderr)
print((here / 'line.json').read_text())
"""


def line(seconds=1.0, **changes):
    """A line of speed.py whose parts take so many seconds each, with sizes and seconds changed."""
    shared = {part: {'seconds': changes.pop(part, seconds)} for part in PARTS}
    machine = {'device': 'cpu', 'cores': 2, 'jax': '0', 'matmul_gflop_per_second': 250.0}
    return {'workload': {'b': 4} | changes, 'machine': machine, 'shared': shared}


@pytest.fixture
def checkouts(tmp_path):
    """Two checkouts whose speed.py print a line of 2 and one of 3 seconds a step."""
    for name, made in (('before', line(1.0)), ('now', line(1.5))):
        (tmp_path / name / 'experiments').mkdir(parents=True)
        (tmp_path / name / 'experiments' / 'speed.py').write_text(FAKE)
        (tmp_path / name / 'line.json').write_text(json.dumps(made))
    return tmp_path


def run(monkeypatch, folder, *flags):
    """Run the command on the checkouts of a folder."""
    sides = '--before', str(folder / 'before'), '--now', str(folder / 'now')
    monkeypatch.setattr('sys.argv', ['side_by_side.py', *sides, *flags])
    side_by_side.main()


def test_checkouts_take_turns_each_with_its_own_package(checkouts, monkeypatch, capsys):
    run(monkeypatch, checkouts, '--pairs', '2', '--repeats', '3', '--', '--new', '8')
    calls = [json.loads(call) for call in (checkouts / 'calls').read_text().splitlines()]
    assert [call[0] for call in calls] == ['before', 'now', 'before', 'now']
    for name, folder, path, flags in calls:
        assert folder == path == str((checkouts / name).resolve())
        assert flags == ['--preset', 'stage', '--repeats', '3', '--new', '8']
    printed = capsys.readouterr().out.splitlines()
    first = 'pair 1: before 2 s (250 GFLOP/s), now 3 s (250 GFLOP/s), now/before 1.500'
    assert printed[1] == first and printed[2].startswith('pair 2: ')
    assert printed[4].split() == ['step', '1.500', '(1.500', 'to', '1.500)']


def test_a_checkout_that_fails_is_named_with_its_messages(checkouts, monkeypatch):
    (checkouts / 'now' / 'experiments' / 'speed.py').write_text('raise SystemExit("no such clip")')
    with pytest.raises(SystemExit, match=r'(?s)now/experiments/speed.py.*status 1.*no such clip'):
        run(monkeypatch, checkouts)


def test_lines_of_other_sizes_are_not_compared(checkouts, monkeypatch):
    (checkouts / 'now' / 'line.json').write_text(json.dumps(line(b=8)))
    with pytest.raises(SystemExit, match='workload.b=4 before, 8 now'):
        run(monkeypatch, checkouts)


@pytest.mark.parametrize(
    'output', ['', 'Killed', '[1]', '{"shared": {}}', '{"shared": {"grow": 1}}']
)
def test_an_output_that_is_no_line_of_speed_is_shown(output, tmp_path):
    with pytest.raises(side_by_side.Failed, match='the last line of its speed.py must be JSON'):
        side_by_side.parse_line(output, tmp_path)


def test_the_last_line_of_an_output_counts(tmp_path):
    made = line(2.0)
    assert side_by_side.parse_line(f'a warning\n{json.dumps(made)}\n', tmp_path) == made


def test_a_step_is_rollout_and_learn():
    assert side_by_side.seconds(line(rollout=1.5, learn=2.0), *side_by_side.STAGES) == 3.5


def test_the_summary_takes_the_median_of_the_ratios_of_pairs():
    pairs = [
        (line(rollout=1.0, learn=3.0), line(rollout=1.0, learn=1.0)),
        (line(rollout=2.0, learn=2.0), line(rollout=1.0, learn=4.0)),
        (line(rollout=4.0, learn=4.0), line(rollout=2.0, learn=4.0)),
    ]
    rows = side_by_side.summary(pairs)
    assert rows['step'] == {'median': 0.75, 'least': 0.5, 'largest': 1.25}
    assert rows['rollout'] == {'median': 0.5, 'least': 0.5, 'largest': 1.0}
    assert rows['grow'] == {'median': 1.0, 'least': 1.0, 'largest': 1.0}


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--pairs', '0'], '--pairs=0: must be at least 1'),
        (['--repeats', '0'], '--repeats=0: must be at least 1'),
        (['--now', 'nowhere'], '--now=nowhere: must be a checkout that has experiments/speed.py'),
        (['--workload', 'film'], "invalid choice: 'film'"),
        (['--workload', 'text'], '--workload=text with --checkpoint=None: must be a Hugging Face'),
        (['--workload', 'image', '--checkpoint', 'nowhere'], 'peers/make_checkpoint.py DIR'),
        (['--checkpoint', 'nowhere'], '--workload=stage takes no --checkpoint'),
    ],
)
def test_flags_that_cannot_be_met_end_with_a_message(flags, message, checkouts, capsys):
    with pytest.raises(SystemExit):
        side_by_side.parse(['--before', str(checkouts / 'before'), *flags])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('workload', ['text', 'image'])
def test_a_checkpoint_is_passed_to_both_by_its_whole_path(workload, checkouts, monkeypatch):
    monkeypatch.chdir(checkouts)
    (checkouts / 'folder').mkdir()
    (checkouts / 'folder' / 'config.json').write_text('{}')
    sides = ['--before', 'before', '--now', 'now']
    asked = side_by_side.parse([*sides, '--workload', workload, '--checkpoint', 'folder'])
    flags = side_by_side.flags_of(asked)
    assert flags[flags.index('--checkpoint') + 1] == str((checkouts / 'folder').resolve())
    assert ('--image' in flags) == (workload == 'image')
