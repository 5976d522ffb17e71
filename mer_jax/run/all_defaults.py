"""The modules with the default configs of each method: stage() and published(family)."""

from mer_jax.run import defaults, emo_r3_defaults

DEFAULTS = {'mer_r1': defaults, 'emo_r3': emo_r3_defaults}
