"""The adapters that a run trains (learn.train=lora): rules of their keys, and where they begin."""

import jax

from mer_jax.models.checkpoint.peft import read_adapter, read_lora
from mer_jax.models.lora import TARGETS, Lora, adapters_of, detach, new_adapters
from mer_jax.models.omni import Omni
from mer_jax.storage.paths import path_of

KEYS = ('rank', 'alpha', 'targets', 'towers')  # of config.learn.lora


def make_lora(section) -> Lora:
    """The frozen form of config.learn.lora."""
    return Lora(section.rank, section.alpha, tuple(section.targets), section.towers)


def check_lora(c) -> None:
    """Checks the keys of adapters that no table of run.config_rules holds."""
    targets = tuple(c.learn.lora.targets)
    known = [name for name in targets if name in TARGETS]
    if not targets or len(set(known)) < len(targets):
        raise ValueError(
            f'learn.lora.targets={targets}: must name linear layers of the decoder, each once, of '
            f"{', '.join(TARGETS)}; e.g. ('q_proj','v_proj')"
        )
    if c.learn.train != 'lora':
        if c.model.adapter:
            raise ValueError(
                f'model.adapter={c.model.adapter!r}: is trained with learn.train=lora alone, and '
                f'learn.train={c.learn.train}; to train all weights, merge it first (python -m '
                'mer_jax.export) and name the merged folder as model.checkpoint'
            )
        return
    if c.model.adapter and not c.model.checkpoint:
        raise ValueError(
            f'model.adapter={c.model.adapter!r}: needs the model that it was trained on; name it '
            'as model.checkpoint'
        )
    if c.cold_start.steps and c.cold_start.towers:
        raise ValueError(
            'cold_start.towers=True: learn.train=lora trains adapters alone, in the cold start '
            'too; set cold_start.towers=False, and learn.lora.towers=True for adapters in the '
            'towers'
        )


def first_adapters(like: Omni, c) -> dict:
    """The adapters that a run starts from, with the dtypes and shardings of those of `like`.

    They are those in model.adapter, or new ones.
    """
    wanted, lora = adapters_of(like), make_lora(c.learn.lora)
    if c.model.adapter:
        check_same(lora, read_lora(path_of(c.model.adapter)), f'model.adapter={c.model.adapter}')
        return read_adapter(path_of(c.model.adapter), wanted)

    def fresh():
        made = new_adapters(key_of(c), detach(like), lora)
        return jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), made, wanted)

    return jax.jit(fresh, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, wanted))()


def key_of(c):
    """The random key of new adapters; another one than that of the weights."""
    return jax.random.fold_in(jax.random.key(c.seed), 1)


def check_same(lora: Lora, held: Lora, holder: str) -> None:
    """Raises ValueError if adapters that exist are not those that a config describes."""
    for key, asked, found in (
        ('rank', lora.rank, held.rank),
        ('alpha', lora.alpha, held.alpha),
        ('targets', sorted(lora.targets), sorted(held.targets)),
        ('towers', lora.towers, held.towers),
    ):
        if asked != found:
            raise ValueError(
                f'learn.lora.{key}={asked!r}: must be that of the adapter in {holder}, {found!r}; '
                f'set --config.learn.lora.{key}="{found}"'
            )


def held_by_run(config: dict) -> Lora | None:
    """The adapters that a run trains, by its config.json; None if it trains other weights."""
    if config.get('learn.train') != 'lora':
        return None
    rank, alpha, targets, towers = (config[f'learn.lora.{key}'] for key in KEYS)
    return Lora(rank, alpha, tuple(targets), towers)
