"""MER-UniBench by a checkpoint: fast and slow answers, scores with intervals.

python -m mer_jax.evaluate --config configs/eval_mer_unibench.py --workdir evaluations/first \
    --config.model.checkpoint=DIR --config.data.root=DIR

data.root holds the folders of the sets (`python -m mer_jax.data.benchmarks --root DIR` says which
are found), or a manifest.jsonl of clips with gold words.
"""

from ml_collections import ConfigDict

from mer_jax.data.benchmarks import MER_UNIBENCH


def get_config() -> ConfigDict:
    """The nine sets of MER-UniBench; mer_jax.data.benchmarks knows other keys."""
    c = ConfigDict()
    c.seed = -1  # of sampling; -1: that of the checkpoint's own config
    c.model = ConfigDict(dict(checkpoint=''))  # one, named: nothing is chosen on test data
    c.data = ConfigDict(dict(root='', cache='', max_bad_clips=100))
    c.benchmarks = MER_UNIBENCH
    c.wheels = ('builtin',)  # or AffectGPT's folder emotion_wheel, which published figures rest on
    c.level = 1
    c.clips = 0  # of each set at most, the first ones; 0 = all
    c.evaluate = ConfigDict(dict(batch=32, temperature=0.9, top_p=0.9))
    c.mesh = ConfigDict(dict(data=-1, fsdp=1, tensor=1))
    c.judge = ConfigDict()  # of the reasoning, for the sets of MME-Emotion; off without an endpoint
    c.judge.endpoint = ''  # OpenAI-compatible, such as https://host/v1
    c.judge.model = ''
    c.judge.key = 'JUDGE_API_KEY'  # the environment variable that holds the key, if one is needed
    return c
