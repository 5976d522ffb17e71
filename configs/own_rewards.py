"""MER-R1 with two rewards of one's own: short reasoning, and reasoning that names a cue.

python -m mer_jax.main --config configs/own_rewards.py --workdir runs/own
"""

from mer_jax.run.defaults import mer_r1

CUES = ('voice', 'brow', 'mouth', 'eyes', 'smile', 'words')


def thrift(texts, clips):
    """Two rewards of each branch; texts[b][g] are whole branches, clips[b] their clips."""
    thoughts = [[text.partition('</think>')[0] for text in row] for row in texts]
    return {
        'short': [[-len(thought.split()) / 100 for thought in row] for row in thoughts],
        'cue': [
            [float(any(cue in thought for cue in CUES)) for thought in row] for row in thoughts
        ],
    }


def get_config(variant=''):
    """configs/mer_r1.py with the rewards and their weights."""
    c = mer_r1(variant)
    c.learn.rewards = (thrift,)
    c.learn.weights.update(short=0.1, cue=0.2)
    return c
