"""Writes clips of the embedded stage as films, or its pictures.

    python -m mer_jax.data.stage --out clips --clips 200 --seed 1 --sheet
    python -m mer_jax.data.stage --pictures --domain away --out pictures --clips 200

A run trains on them with --config.data.manifest=clips/manifest.jsonl.
"""

from mer_jax.data.stage.stage import main
from mer_jax.errors import quiet_pipes

if __name__ == '__main__':
    with quiet_pipes():
        main(__doc__)
