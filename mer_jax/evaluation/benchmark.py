"""Benchmarks by one named checkpoint: predictions, scores with intervals, published rows beside.

What is answered is written block by block, so an evaluation that was killed goes on and ends with
the very same files.
"""

import dataclasses
import json
import pathlib

import jax

from mer_jax.data.benchmarks import BENCHMARKS, published
from mer_jax.data.clips import Clip, read_manifest
from mer_jax.data.fingerprint import content_of_clips
from mer_jax.data.loader import Damages
from mer_jax.data.wheels.wheel import Wheels, load_wheels
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.endpoint import Endpoint
from mer_jax.evaluation.judge import REASONED, judge_set
from mer_jax.evaluation.label_files import Column, plain_words, published_words
from mer_jax.evaluation.scoring import Task, compare
from mer_jax.evaluation.tables import as_markdown
from mer_jax.methods.mer_r1_answers import SCORES
from mer_jax.models.omni import Omni
from mer_jax.run.config_rules import check_config
from mer_jax.run.examples import PROMPT_KEYS
from mer_jax.run.feature_cache import fingerprint
from mer_jax.run.held_out import answer_blocks, summary
from mer_jax.run.origin import config_of
from mer_jax.run.records import write_whole
from mer_jax.run.setting import Setting, answering
from mer_jax.run.trained_on import known, shared_with_training

MANIFEST = 'manifest'


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Clips to answer, and what is right, as `mer_jax.score` reads it."""

    key: str
    title: str
    task: str
    clips: list[Clip]
    gold: dict[str, object]  # name → a list of words, a word or a number
    note: str  # what differs from the published set


def find_sets(c) -> tuple[list[TestSet], list[str]]:
    """The sets that can be read, and why others cannot; ValueError if there is none."""
    root = pathlib.Path(c.data.root)
    unknown = [key for key in c.benchmarks if key not in BENCHMARKS]
    if unknown:
        raise ValueError(
            f'benchmarks={unknown[0]!r}: is not known; the keys are {", ".join(BENCHMARKS)}'
        )
    if not root.is_dir():
        raise ValueError(f'data.root={c.data.root!r}: must be a folder that holds the sets')
    found, absent, broken = [], [], []
    if (root / 'manifest.jsonl').exists():
        clips = read_manifest(root / 'manifest.jsonl')
        gold = {clip.id: list(clip.words) for clip in clips}
        found.append(TestSet(MANIFEST, f'clips of {root.name}', 'open', clips, gold, ''))
    for key in c.benchmarks:
        try:
            found.append(read_set(key, root))
        except FileNotFoundError as error:
            absent.append(str(error))
        except ValueError as error:  # damaged: the others are evaluated all the same
            broken.append(f'{key} is damaged: {error}')
    if broken and not found:
        raise ValueError(f'{broken[0]}; mend it, or leave it out of benchmarks')
    if not found:
        raise ValueError(
            f'data.root={c.data.root!r}: holds neither manifest.jsonl nor any of '
            f'{", ".join(c.benchmarks)}; python -m mer_jax.data.benchmarks --root {root} says what '
            'is expected where'
        )
    return found, broken + absent


def read_set(key: str, root: pathlib.Path) -> TestSet:
    """A published set below the root, as far as it has labels."""
    benchmark = BENCHMARKS[key]
    found = benchmark.read(root)
    gold = {name: next(iter(label.values())) for name, label in found.gold.items()}
    notes = [f'{len(found.clips)} clips, {benchmark.count or "an unknown number"} published']
    if found.absent:
        notes.append(f'{len(found.absent)} labels without a media file')
    return TestSet(key, benchmark.title, benchmark.task, found.clips, gold, '; '.join(notes))


def answer_set(setting: Setting, policy: Omni, test: TestSet, path: pathlib.Path) -> list[dict]:
    """The lines of the predictions file: one a mode of each clip, or why a clip has none.

    A file that is there is gone on with, from its last whole block.
    """
    size = setting.config.evaluate.batch
    kept = whole_blocks(path, test.clips, size)
    write_whole(path, ''.join(json.dumps(line) + '\n' for line in kept))
    start = -(-len({line['id'] for line in kept}) // size)
    prepare = setting.writer.bare_example
    blocks = answer_blocks(setting, policy, test.clips, test.key, prepare, start)
    with path.open('a', encoding='utf-8') as file:
        for rows, damaged in blocks:
            lines = [line_of(row, mode) for row in rows for mode in MODES]
            lines += [{'id': one['id'], 'mode': 'none', 'error': one['reason']} for one in damaged]
            file.write(''.join(json.dumps(line) + '\n' for line in lines))
            file.flush()
            kept += lines
    return kept


def whole_blocks(path: pathlib.Path, clips: list[Clip], size: int) -> list[dict]:
    """The lines of the blocks that an earlier start has written whole."""
    kept, done = [], set()
    for line in path.read_text(encoding='utf-8').splitlines() if path.exists() else ():
        try:
            kept.append(json.loads(line))
        except ValueError:
            break  # torn by a kill
    written = {}
    for line in kept:
        written.setdefault(line['id'], set()).add(line['mode'])
    for first in range(0, len(clips), size):
        ids = {clip.id for clip in clips[first : first + size]}
        if not all(written.get(name) in ({'none'}, set(MODES)) for name in ids):
            break
        done |= ids
    return [line for line in kept if line['id'] in done]


def line_of(row: dict, mode: str) -> dict:
    """A line of the predictions file."""
    said = row[mode]
    return {
        'id': row['id'],
        'mode': mode,
        'raw': said['text'],
        'think': said['think'],
        'answer': ', '.join(said['words']),
        'words': list(said['words']),
        'confidences': said['confidence'],
        'scores': {name: said[name] for name in SCORES},
    }


def score_set(c, setting: Setting, test: TestSet, lines: list[dict]) -> dict:
    """Fast, slow, and slow − fast of a set; ValueError where nothing can be scored."""
    wheels = load_wheels(tuple(c.wheels)) if test.task in ('open', 'basic') else None
    published_folder = pathlib.Path(c.wheels[0]).is_dir()
    read = published_words if published_folder else plain_words
    task = Task(test.task, wheels, c.level, read)
    labels = Column(f'{test.key} labels', 'gold', test.gold, 0)
    answers = [
        Column(
            f'{test.key} {mode} answers',
            'answer',
            {line['id']: line['words'] for line in lines if line['mode'] == mode},
            0,
        )
        for mode in MODES
    ]
    compared = compare(task, labels, *answers)
    result = {'fast': compared['first'], 'slow': compared['second']}
    result['difference'] = compared['difference']
    result['published'] = [row._asdict() for row in published(test.key)]
    rows = rows_of(lines, setting.wheels, test.gold) if test.task == 'open' else []
    if len(rows) > 1:
        wheels = {'wheels': list(setting.wheels.names)}
        result['mean_over_clips'] = wheels | summary(rows, SCORES)
    return result


def rows_of(lines: list[dict], wheels: Wheels, gold: dict[str, list[str]]) -> list[dict]:
    """The scores of clips of which a wheel knows a gold word, as `summary` takes them."""
    rows = {}
    for line in lines:
        if line['mode'] != 'none':
            rows.setdefault(line['id'], {})[line['mode']] = line['scores']
    return [row for name, row in rows.items() if wheels.cells([gold.get(name, [])]).any()]


def judge_of(c, tests: list[TestSet]) -> Endpoint | None:
    """The judge, if one is named; ValueError where it is wrong or has nothing to judge."""
    if not c.judge.endpoint:
        return None
    judge = Endpoint(c.judge.endpoint, c.judge.model, c.judge.key)
    if not any(test.key.startswith(REASONED) for test in tests):
        raise ValueError(
            f'judge.endpoint: judges sets of MME-Emotion ({REASONED}…), but there are only '
            f'{", ".join(test.key for test in tests)}; name one in benchmarks, or no endpoint'
        )
    return judge


def protocol_of(c, setting: Setting, policy: Omni, tests: list[TestSet]) -> dict:
    """What a result stands on: one checkpoint, how it was asked, sampled and scored, on what."""
    wheels = load_wheels(tuple(c.wheels))
    asked = setting.config
    return {
        'checkpoint': c.model.checkpoint,
        'weights': fingerprint(policy),
        'choice': 'one named checkpoint; nothing was chosen on test data',
        'seed': asked.seed,
        'temperature': asked.evaluate.temperature,
        'top_p': asked.evaluate.top_p,
        'tokens': asked.rollout.slow_tokens,
        'batch': asked.evaluate.batch,
        'clips': c.clips or 'all',
        'data': {key: asked.data[key] for key in (*PROMPT_KEYS, 'prompt_tokens')},
        'sets': {test.key: content_of_clips(test.clips, files=True) for test in tests},
        'wheels': list(wheels.names),
        'wheels_digest': wheels.digest,
        'level': c.level,
    }


def setting_of(c, workdir: pathlib.Path) -> tuple[Setting, Omni]:
    """The checkpoint with how it is asked, and the sampling of this evaluation."""
    asked = config_of(c.model.checkpoint)
    asked.evaluate.update(c.evaluate)
    asked.mesh = c.mesh
    asked.data.cache = c.data.cache
    if c.seed >= 0:
        asked.seed = c.seed
    # Nothing is learnt: the prompts of a training step need not fit this mesh.
    asked.prompts_per_step = asked.cold_start.prompts_per_step = max(c.evaluate.batch, 1)
    asked.learn.minibatches, asked.learn.microbatch = 1, 0
    check_config(asked)
    return answering(asked, Damages(workdir / 'bad_clips.jsonl', c.data.max_bad_clips))


def claim(workdir: pathlib.Path, protocol: dict) -> None:
    """Make the workdir this evaluation's own; ValueError if it holds another one."""
    path, now = workdir / 'protocol.json', json.loads(json.dumps(protocol))
    if path.exists():
        before = json.loads(path.read_text())
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            key = changed[0]
            raise ValueError(
                f'{key}={now[key]!r}, but {workdir} holds an evaluation with {before.get(key)!r}: '
                'choose another --workdir'
            )
        return
    (workdir / 'predictions').mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(now, indent=1))


def run(c, workdir: pathlib.Path) -> dict:
    """The evaluation of all sets that are there; what results.json holds."""
    if c.level not in (1, 2) or c.clips < 0:
        raise ValueError(
            f'level={c.level}, clips={c.clips}: level is 1 or 2, clips at least 0 (all)'
        )
    tests, absent = find_sets(c)
    if c.clips:
        tests = [first_clips(test, c.clips) for test in tests]
    judge = judge_of(c, tests)
    setting, policy = setting_of(c, workdir)
    protocol = protocol_of(c, setting, policy, tests)
    claim(workdir, protocol)
    protocol['judge'] = judge.title if judge else 'none'  # one may come when all is answered
    trained = known(c.model.checkpoint)
    shared = {test.key: shared_with_training(trained, test.clips) for test in tests}
    results = {'protocol': protocol, 'absent': absent, 'sets': {}}
    results['shared_with_training'] = 'unknown' if trained is None else shared
    with jax.set_mesh(setting.mesh):
        for test in tests:
            path = workdir / 'predictions' / f'{test.key}.jsonl'
            lines = answer_set(setting, policy, test, path)
            results['sets'][test.key] = score_or_say(c, setting, test, lines)
    write_results(workdir, results)
    # Last, so that a judge who fails takes no figure along.
    for test in tests if judge else ():
        scored, asked = results['sets'][test.key], setting.config.data.question
        if test.key.startswith(REASONED) and 'fast' in scored:
            scored['judged'] = judge_set(judge, workdir, test.key, test.clips, test.gold, asked)
            write_results(workdir, results)
    return results


def write_results(workdir: pathlib.Path, results: dict) -> None:
    """results.json and results.md."""
    write_whole(workdir / 'results.json', json.dumps(results, indent=1) + '\n')
    write_whole(workdir / 'results.md', as_markdown(results))


def first_clips(test: TestSet, count: int) -> TestSet:
    """The first clips of a set with what is right of them."""
    clips = test.clips[:count]
    gold = {clip.id: test.gold[clip.id] for clip in clips if clip.id in test.gold}
    return dataclasses.replace(test, clips=clips, gold=gold)


def score_or_say(c, setting: Setting, test: TestSet, lines: list[dict]) -> dict:
    """`score_set`, or why a set cannot be scored: that ends no evaluation."""
    left_out = sum(line['mode'] == 'none' for line in lines)
    said = {'note': test.note, 'left_out': left_out, 'task': test.task, 'title': test.title}
    if not test.gold:
        return said | {'note': f'{test.note}; its labels are not public'}
    if left_out == len(lines):
        return said | {'note': f'{test.note}; none of its clips can be used'}
    try:
        return said | score_set(c, setting, test, lines)
    except ValueError as error:
        return said | {'note': f'{test.note}; cannot be scored: {error}'}
