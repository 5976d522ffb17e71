"""Writes the last policy of a run as a Hugging Face folder that other programs load unchanged.

python -m mer_jax.export --run runs/first --out exported
"""

from mer_jax.run.export import main

if __name__ == '__main__':
    main()
