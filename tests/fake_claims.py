"""Lines of claims.jsonl and of interference.py as runs would give them, drawn from a seed."""

import numpy as np

from experiments.claim_arms import ARMS
from experiments.claim_lines import CURVES, PER_CLIP, short

GAINS = {'baseline': -0.02, 'rd': 0.06, 'rd_ad': 0.08, 'full': 0.1, 'grpo': 0.2, 'sft': -0.2}


def lines(seeds=3, clips=40, updates=30):
    """A line for every arm and seed of both tables."""
    return [
        _line(table, arm, seed, clips, updates)
        for seed in range(seeds)
        for table, arms in ARMS.items()
        for arm in arms
    ]


def _line(table, arm, seed, clips, updates):
    rng = np.random.default_rng([seed, sum(map(ord, arm))])
    mean = 0.6 + GAINS.get(arm, 0.04)
    trained = arm not in ('cold_start', 'sft')
    rise = np.linspace(0.6, mean, updates)
    scores = _scores(table, rng, mean, seed, clips)
    return {
        'table': table,
        'arm': arm,
        'seed': seed,
        'command': f'python -m mer_jax.main --workdir={arm}',
        'commit': 'abc1234',
        'hardware': '1 x <device>',
        'seconds': 60.0,
        'config': '0badcafe',
        'python': '3.12.0',
        'versions': {'jax': '0.11.2'},
        'clips': scores,
        'elsewhere': {'away': _scores(table, rng, mean - 0.1, seed, clips)}
        if table == 'emo_r3'
        else {},
        'curves': {
            name: [short(x) for x in rise + rng.normal(0, 0.02, updates)] for name in CURVES[table]
        }
        if trained
        else {},
        'examples': [
            {'id': name, 'gold': ['joy'], 'fast': '<b>joy', 'slow': f'{arm} says <i>{name}'}
            for name in scores['ids'][:6]
        ],
    }


def _scores(table, rng, mean, seed, clips):
    scores = {
        answers: {
            name: [short(x) for x in np.clip(rng.normal(mean, 0.1, clips), 0, 1)]
            for name in PER_CLIP[table]
        }
        for answers in ('slow', 'fast')
    }
    return {'ids': [f'test-{seed}-{i:06}' for i in range(clips)], 'means': {}} | scores


def interference(seeds=3, updates=(0, 50, 100, 150)):
    """A line for each saved policy of the arms that interference.py measures."""
    rng = np.random.default_rng(0)
    return [
        {
            'arm': arm,
            'seed': seed,
            'update': update,
            'prompts': 64,
            'group': 8,
            'recall': 0.6,
            'precision': 0.7,
            'recall_var': 0.02 + 0.01 * rng.random(),
            'precision_var': 0.05 + 0.01 * rng.random(),
            'correlation': 0.3,
            'sum_with_recall': 0.6,
            'sum_with_precision': 0.9,
            'summed': {'recall_norm': 0.1, 'precision_norm': 0.2, 'cosine': 0.2, 'share': 0.3},
            'separate': {'recall_norm': 0.2, 'precision_norm': 0.2, 'cosine': 0.1, 'share': 0.5},
        }
        for arm in ('baseline', 'rd', 'rd_ad', 'full')
        for seed in range(seeds)
        for update in updates
    ]
