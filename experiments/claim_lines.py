"""A line of claims.jsonl: scores of each clip, curves, a few answers, versions of a run."""

import hashlib
import importlib.metadata
import json
import pathlib
import platform

import numpy as np

PLACES = ('model.checkpoint', 'data.cache')  # keys that say where files are
PER_CLIP = {  # scores that are kept for each clip; of others the mean
    'mer_r1': ('recall', 'precision', 'f'),
    'emo_r3': ('accuracy', 'coherence', 'consistency'),
}
CURVES = {  # figures of records.jsonl that are kept for each update
    'mer_r1': (
        *('recall', 'precision', 'f', 'form', 'recall_std', 'precision_std', 'f_std'),
        *('calibration_recall', 'calibration_precision', 'kl', 'tokens', 'entropy'),
    ),
    'emo_r3': (
        *('accuracy', 'reflection', 'coherence', 'consistency', 'format'),
        *('kl', 'tokens', 'entropy'),
    ),
}
EXAMPLES = 6  # clips whose answers are kept as texts
VERSIONS = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


def line_of(table: str, folders: dict[str, pathlib.Path]) -> dict:
    """The part of a line that the files of a run tell.

    `folders` holds the workdir of the run as '', and those of its evaluations on other domains.
    """
    config = json.loads((folders[''] / 'config.json').read_text())
    rows = {domain: answers_of(folder) for domain, folder in folders.items()}
    return {
        'config': digest_of_config(config),
        'python': platform.python_version(),
        'versions': {name: importlib.metadata.version(name) for name in VERSIONS},
        'clips': scores_of_clips(table, rows['']),
        'elsewhere': {
            domain: scores_of_clips(table, found) for domain, found in rows.items() if domain
        },
        'curves': curves_of(table, folders['']),
        'examples': [example_of(row) for row in rows[''][:EXAMPLES]],
    }


def digest_of_config(config: dict) -> str:
    """A hash of the config of a run without the places of its files: 8 hexadecimal digits."""
    kept = {key: value for key, value in config.items() if key not in PLACES}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def answers_of(workdir: pathlib.Path) -> list[dict]:
    """The answers of the last evaluation of a run, in the order of the clips' ids."""
    both = [workdir / f'evaluation_{title}.json' for title in ('end', 'cold_start')]
    last = next(path for path in both if path.exists())
    return sorted(json.loads(last.read_text())['answers'], key=lambda row: row['id'])


def scores_of_clips(table: str, rows: list[dict]) -> dict:
    """The scores of answers: {'ids', 'fast': {score: [one a clip]}, 'slow', 'means': {'fast', …}}.

    `means` are those of the scores that are not kept by clip.
    """
    found: dict = {'ids': [row['id'] for row in rows], 'means': {}}
    for answers in ('fast', 'slow'):
        scores = {
            name: [float(row[answers][name]) for row in rows]
            for name, value in rows[0][answers].items()
            if isinstance(value, int | float) and all(name in row[answers] for row in rows)
        }
        kept = [name for name in PER_CLIP[table] if name in scores]
        found[answers] = {name: [short(x) for x in scores[name]] for name in kept}
        found['means'][answers] = {
            name: short(np.mean(values)) for name, values in scores.items() if name not in kept
        }
    return found


def curves_of(table: str, workdir: pathlib.Path) -> dict[str, list[float]]:
    """The figures of each update of reinforcement learning by name; {} for a run without any."""
    path = workdir / 'records.jsonl'
    records = map(json.loads, path.read_text().splitlines() if path.exists() else ())
    trained = [record for record in records if record['stage'] == 'train']
    names = [name for name in CURVES[table] if trained and name in trained[0]]
    return {name: [short(record[name]) for record in trained] for name in names}


def example_of(row: dict) -> dict:
    """The texts of the answers to a clip, with its id and gold words."""
    texts = {answers: row[answers]['text'] for answers in ('fast', 'slow')}
    return {'id': row['id'], 'gold': row['gold']} | texts


def short(value: float) -> float | int:
    """A number with four digits, a whole one without its point."""
    rounded = float(f'{value:.4g}')
    return int(rounded) if rounded.is_integer() else rounded
