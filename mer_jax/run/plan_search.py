"""The search for keys with which a run fits."""

import sys
from collections.abc import Collection

from mer_jax.run.mesh_rules import count_shards
from mer_jax.run.plan_compile import Planned, make_plan
from mer_jax.run.plan_programs import planned_setting
from mer_jax.run.plan_report import gib, too_large
from mer_jax.run.setting import Setting
from mer_jax.run.topology import Topology


def search(
    setting: Setting,
    variant: str,
    topology: Topology,
    media: str,
    plan: dict[str, Planned],
    programs: Collection[str] = (),
) -> tuple[Setting, dict[str, Planned]]:
    """The setting and the plan of the first changes with which all fits, else those given.

    Each attempt compiles the programs that were too large, and all of them (or those of the plan,
    `programs`) once these fit. It is told on standard error.
    """
    refused = too_large(plan, topology.chip)
    for change in changes(setting, refused):
        told = ' '.join(f'--config.{key}={value}' for key, value in change.items())
        try:
            other = changed(setting, variant, topology, change)
        except ValueError as error:
            print(f'{told}: {error}', file=sys.stderr)
            continue
        tried = make_plan(other, topology, media, only=refused)
        if not too_large(tried, topology.chip):
            tried = make_plan(other, topology, media, programs)
        peaks = [
            f'{name} {gib(tried[name].memory.peak)} GiB' for name in too_large(tried, topology.chip)
        ]
        print(f'{told}: {"too large: " + ", ".join(peaks) if peaks else "fits"}', file=sys.stderr)
        if not peaks:
            return other, tried
    return setting, plan


def changes(setting: Setting, refused: Collection[str]) -> list[dict[str, int | str | bool]]:
    """Changes of a config by dotted keys, those that slow a run or change it least first.

    Microbatches and fewer logits at a time change nothing but speed, and are part of all that
    follows: devices that share heads, then moments in bfloat16, then both. Adapters in place of
    all weights come last. `refused` are the programs that are too large.
    """
    c, text, mesh = setting.config, setting.spec.text, setting.mesh
    harmless = [('learn.microbatch', c.learn.microbatch, 1), ('learn.chunk', c.learn.chunk, 32)]
    if 'roll_out' in refused:
        shards, _ = count_shards(setting.rules, mesh.shape)
        grown = c.rollout.microbatch or c.prompts_per_step // shards
        harmless = [('rollout.microbatch', grown, size) for size in halves(grown)] + harmless
    small, found = {}, []
    for key, given, wanted in harmless:
        if given == 0 or given > wanted:
            small = small | {key: wanted}
            found.append(small)
    tensors = [mesh.shape['tensor'] * times for times in (2, 4, 8)]
    wider = [
        {'mesh.tensor': size}
        for size in tensors
        if text.num_key_value_heads % size == 0 and mesh.size % size == 0
    ]
    halved = [{'optim.moments': 'bfloat16'}] if c.optim.moments == 'float32' else []
    both = [one | other for one in wider for other in halved]
    adapters = {'learn.train': 'lora', 'cold_start.towers': False}
    fewer = [adapters] if c.learn.train != 'lora' else []
    return found + [small | change for change in (*wider, *halved, *both, *fewer)]


def halves(number: int) -> list[int]:
    """A half of a number, a half of that and so on, as far as it divides."""
    return [number // 2] + halves(number // 2) if number > 1 and number % 2 == 0 else []


def changed(setting: Setting, variant: str, topology: Topology, change: dict[str, int]) -> Setting:
    """The setting of a changed config; ValueError if the changes do not fit it."""
    c = setting.config.copy_and_resolve_references()
    with c.unlocked():
        c.update_from_flattened_dict(change)
    return planned_setting(c, variant, topology.devices)
