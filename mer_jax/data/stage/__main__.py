"""Writes clips of the embedded stage as films, or its pictures.

python -m mer_jax.data.stage --out DIR --clips N --seed S [--split test] [--sheet]
python -m mer_jax.data.stage --pictures [--domain away] [--emoset] --out DIR --clips N --seed S
"""

from mer_jax.data.stage.stage import main
from mer_jax.errors import quiet_pipes

if __name__ == '__main__':
    with quiet_pipes():
        main()
