"""Small folders in the layouts of published benchmarks, as tests write them."""

import json

import numpy as np


def put(root, *paths, data=b''):
    """Writes small files below a root."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data if isinstance(data, bytes) else data.encode())


def put_corpora(root, path, **corpora):
    """An .npz as published: pickled dictionaries in 0-d arrays."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / path, **{key: np.array(value) for key, value in corpora.items()})


def put_questions(root, task, *questions):
    """A question file of MME-Emotion with these (video_id, label)."""
    keys = ('video_id', 'label', 'label_set')
    rows = [dict(zip(keys, (*question, ['x']), strict=True)) for question in questions]
    put(root, f'{task}/question/{task.replace("-", "_")}.json', data=json.dumps(rows))
