"""The claims judged by lines of results, and the tables that tell it."""

import numpy as np

from experiments.claim_arms import ARMS, CLAIMS, Claim
from experiments.claim_statistics import components, interval, seeds_needed, verdict

MODES = ('slow', 'fast')


def clips_of(line: dict, domain: str) -> dict | None:
    """The scores of the clips of a domain in a line; '' is the domain of training."""
    return line.get('elsewhere', {}).get(domain) if domain else line['clips']


def differences(claim: Claim, lines: list[dict]) -> tuple[list[np.ndarray], bool]:
    """The paired differences of a claim, f[clips] of each seed, and whether clips are the same.

    Seeds that lack one of its arms are left out.
    """
    by_arm = {(line['arm'], line['seed']): clips_of(line, claim.domain) for line in lines}
    found, clips = [], []
    for seed in sorted({seed for _, seed in by_arm}):
        one, other = (by_arm.get((arm, seed)) for arm in (claim.arm, claim.over))
        if one is None or other is None:
            continue
        place = {name: i for i, name in enumerate(other['ids'])}
        common = [name for name in one['ids'] if name in place]
        mine = dict(zip(one['ids'], one[claim.answers][claim.score], strict=True))
        theirs = other[claim.over_answers][claim.score]
        found.append(np.array([mine[name] - theirs[place[name]] for name in common]))
        clips.append(common)
    return found, len(clips) > 1 and all(one == clips[0] for one in clips)


def judged(claim: Claim, lines: list[dict]) -> dict | None:
    """The interval and verdict of a claim, and the seeds that would decide; None without runs."""
    found, crossed = differences(claim, lines)
    if not found:
        return None
    told = interval(found, crossed)
    told['verdict'] = verdict(told['ci'])
    if len(found) > 1:
        told['seeds_needed'] = seeds_needed(components(found, crossed), told['mean'])
    return told


def told_verdict(told: dict) -> str:
    """The verdict of a judged claim in words, with the number of seeds that would decide it."""
    if told['seeds'] == 1:
        return f'{told["verdict"]} for this seed'
    if told['verdict'] != 'undecided':
        return told['verdict']
    needed = told['seeds_needed']
    return f'undecided; {f"{needed} seeds" if needed else "no number of seeds"} would decide'


def table(name: str, lines: list[dict]) -> str:
    """Claims with their differences, intervals and verdicts, as a table of Markdown."""
    rows = ['| claim | | published | seeds | difference | 95 % interval | verdict |']
    rows.append('|---|---|---|--:|--:|---|---|')
    for claim in CLAIMS[name]:
        told = judged(claim, lines)
        if told is None:
            rows.append(f'| {claim.name} | {claim.text} | {claim.published} | 0 | | | not run |')
            continue
        low, high = told['ci']
        rows.append(
            f'| {claim.name} | {claim.text} | {claim.published} | {told["seeds"]} | '
            f'{told["mean"]:+.4f} | [{low:+.4f}, {high:+.4f}] | {told_verdict(told)} |'
        )
    return '\n'.join(rows)


def columns(table: str) -> list[tuple[str, str, str]]:
    """The scores of an arm that a table shows: (domain, answers, score)."""
    if table == 'mer_r1':
        return [('', a, s) for a in ('slow', 'fast') for s in ('recall', 'precision', 'f')]
    scores = [(domain, answers, 'accuracy') for domain in ('', 'away') for answers in MODES]
    return scores + [('', 'slow', 'coherence'), ('', 'slow', 'consistency')]


def mean_scores(table: str, lines: list[dict], arm: str) -> np.ndarray:
    """The mean over clips of each score of `columns` in each seed of an arm, f[seeds, columns].

    A score that a line lacks is NaN.
    """
    found = []
    for line in (line for line in lines if line['arm'] == arm):
        clips = {domain: clips_of(line, domain) or {} for domain in ('', 'away')}
        values = [clips[domain].get(a, {}).get(s, []) for domain, a, s in columns(table)]
        found.append([float(np.mean(x)) if len(x) else np.nan for x in values])
    return np.array(found).reshape(len(found), len(columns(table)))


def means(table: str, lines: list[dict]) -> str:
    """Mean scores of each arm over its seeds, as a table of Markdown."""
    names = [' '.join(filter(None, (a, s, domain))) for domain, a, s in columns(table)]
    rows = ['| arm | seeds | ' + ' | '.join(names) + ' |', '|---|--:|' + '--:|' * len(names)]
    for arm in ARMS[table]:
        score_sx = mean_scores(table, lines, arm)
        if len(score_sx):
            cells = ['' if np.isnan(x) else f'{x:.3f}' for x in score_sx.mean(0)]
            rows.append(f'| {arm} | {len(score_sx)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(rows)
