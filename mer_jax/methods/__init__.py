"""The methods by name: a module has Rules, rules of keys, TERMS, FIGURES, acting_terms and make."""

from mer_jax.methods import emo_r3, mer_r1

METHODS = {'mer_r1': mer_r1, 'emo_r3': emo_r3}
