"""The methods by name: each module has Rules, CHOICES, TERMS and make(rules, words) → Method."""

from mer_jax.methods import mer_r1

METHODS = {'mer_r1': mer_r1}
