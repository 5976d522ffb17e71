"""Benchmarks by one named checkpoint: predictions, scores with intervals, published rows beside.

Answers are written block by block, so an interrupted evaluation resumes and ends with the same
files.
"""

import json
import pathlib
import sys

from mer_jax.data.fingerprint import content_of_clips
from mer_jax.data.positions import VIDEO_POSITIONS
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.errors import one_line
from mer_jax.evaluation.answer_files import answer_set
from mer_jax.evaluation.asking import asked_config, is_closed, setting_of, settings_of
from mer_jax.evaluation.benchmark_sets import TestSet, find_sets, first_clips
from mer_jax.evaluation.config_rules import check_evaluation
from mer_jax.evaluation.confusion import draw_confusions
from mer_jax.evaluation.domains import out_of_domain, trained_on
from mer_jax.evaluation.endpoint import Endpoint
from mer_jax.evaluation.judge import (
    REASONED,
    judge_set,
    judged_before,
    questions_of_set,
    verdicts_of,
)
from mer_jax.evaluation.judge_cost import estimate, in_words
from mer_jax.evaluation.set_scores import score_or_say
from mer_jax.evaluation.tables import as_markdown
from mer_jax.models.omni import Omni
from mer_jax.run.examples import PROMPT_KEYS
from mer_jax.run.feature_cache import fingerprint
from mer_jax.run.setting import Setting
from mer_jax.run.trained_on import known, shared_with_training
from mer_jax.run.workdir import UNNAMED
from mer_jax.storage.objects import contents, make_folder, write_whole

UNNAMED_HERE = {  # in a protocol.json older than these keys
    'method': UNNAMED['method'],
    'video_positions': VIDEO_POSITIONS[0],
    'adapter': '',
}


def judge_of(c, tests: list[TestSet]) -> Endpoint | None:
    """The judge, if one is named; ValueError where it is wrong or has nothing to judge."""
    if not c.judge.endpoint:
        return None
    judge = Endpoint(c.judge.endpoint, c.judge.model, c.judge.key, c.judge.seconds)
    if not any(test.key.startswith(REASONED) for test in tests):
        raise ValueError(
            f'judge.endpoint: judges sets of MME-Emotion ({REASONED}…), but there are only '
            f'{", ".join(test.key for test in tests)}; name one in benchmarks, or no endpoint'
        )
    return judge


def protocol_of(
    c, setting: Setting, policy: Omni, tests: list[TestSet], settings: dict[str, Setting]
) -> dict:
    """The conditions of a result: checkpoint, prompts, sampling, scoring, and contents of sets.

    `asked` holds labels and question of each set, for a method with a closed set of answers.
    """
    wheels = load_wheels(tuple(c.wheels))
    asked = setting.config
    protocol = {
        'checkpoint': c.model.checkpoint,
        'adapter': c.model.adapter,
        'weights': fingerprint(policy),
        'method': asked.method,
        'choice': 'one named checkpoint; nothing was chosen on test data',
        'seed': asked.seed,
        'video_positions': asked.model.video_positions,
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
    if is_closed(asked):
        protocol['asked'] = {
            key: {'labels': list(of_set.method.labels), 'question': of_set.writer.question}
            for key, of_set in settings.items()
        }
    return protocol


def claim(workdir: pathlib.Path, protocol: dict) -> None:
    """Makes the workdir this evaluation's own; ValueError if it holds another one."""
    path, now = workdir / 'protocol.json', json.loads(json.dumps(protocol))
    if text := contents(path):
        try:
            before = UNNAMED_HERE | json.loads(text)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f'{path}: must hold the conditions of the evaluation in {workdir} as JSON '
                f'({one_line(error)}); put it back, or choose another --workdir'
            ) from None
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            key = changed[0]
            raise ValueError(
                f'{key}={now[key]!r}, but {workdir} holds an evaluation with {before.get(key)!r}: '
                'choose another --workdir'
            )
        return
    make_folder(workdir / 'predictions')
    write_whole(path, json.dumps(now, indent=1))


def run(c, workdir: pathlib.Path) -> dict:
    """Evaluates all sets that are found, and returns the content of results.json."""
    check_evaluation(c)
    asked = asked_config(c)
    trained = trained_on(c, asked)
    tests, absent = find_sets(c, is_closed(asked))
    if c.clips:
        tests = [first_clips(test, c.clips) for test in tests]
    judge = judge_of(c, tests)
    setting, policy = setting_of(c, asked, workdir)
    settings = settings_of(setting, [test.key for test in tests])
    protocol = protocol_of(c, setting, policy, tests, settings)
    claim(workdir, protocol)
    protocol['judge'] = judge.title if judge else 'none'  # may be added once all is answered
    seen = known(c.model.checkpoint)
    shared = {test.key: shared_with_training(seen, test.clips) for test in tests}
    results = {'protocol': protocol, 'absent': absent, 'sets': {}}
    results['shared_with_training'] = 'unknown' if seen is None else shared
    results['trained_on'] = trained
    with setting.in_use():
        for test in tests:
            of_set = settings[test.key]
            path = workdir / 'predictions' / f'{test.key}.jsonl'
            lines = answer_set(of_set, policy, test, path)
            results['sets'][test.key] = score_or_say(c, of_set, test, lines)
    results['out_of_domain'] = out_of_domain(results['sets'], trained)
    write_results(workdir, results)
    if judge:  # last, so that a judge that fails costs no figure
        judge_all(c, judge, workdir, results, tests, settings)
    return results


def judge_all(
    c,
    judge: Endpoint,
    workdir: pathlib.Path,
    results: dict,
    tests: list[TestSet],
    settings: dict[str, Setting],
) -> None:
    """Adds the judged figures of all sets to the results; first prints what that will take."""
    asked, left, kept = {}, [], 0
    for test in tests:
        if test.key.startswith(REASONED) and 'fast' in results['sets'][test.key]:
            question = settings[test.key].writer.question
            asked[test.key] = questions_of_set(workdir, test.key, test.clips, test.gold, question)
            before = judged_before(judge, verdicts_of(workdir, test.key), asked[test.key])
            left += [one for one in asked[test.key] if one.about not in before]
            kept += len(before)
    prices = c.judge.price_read, c.judge.price_written
    print(in_words(judge, estimate(left), kept, *prices), file=sys.stderr)
    for key, questions in asked.items():
        results['sets'][key]['judged'] = judge_set(judge, workdir, key, questions)
        write_results(workdir, results)


def write_results(workdir: pathlib.Path, results: dict) -> None:
    """Writes results.json, results.md and the pictures of confusion."""
    for key, scored in results['sets'].items():
        if 'confusion' in scored:
            draw_confusions(workdir, key, scored)
    write_whole(workdir / 'results.json', json.dumps(results, indent=1) + '\n')
    write_whole(workdir / 'results.md', as_markdown(results))
