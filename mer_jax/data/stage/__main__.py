"""Writes clips of the embedded stage as films.

python -m mer_jax.data.stage --out DIR --clips N --seed S [--split test] [--sheet]
"""

from mer_jax.data.stage.stage import main

if __name__ == '__main__':
    main()
