"""The methods by name: each module has Rules, its rules of a config, TERMS and make."""

from mer_jax.methods import emo_r3, mer_r1

METHODS = {'mer_r1': mer_r1, 'emo_r3': emo_r3}
