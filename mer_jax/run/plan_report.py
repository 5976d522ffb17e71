"""A plan: every program of a run compiled for a topology, as JSON and as a table for people."""

import dataclasses

from mer_jax.run.mesh_rules import count_shards
from mer_jax.run.plan_collectives import bytes_by_kind
from mer_jax.run.plan_compile import Planned
from mer_jax.run.setting import Setting
from mer_jax.run.topology import GIB, Chip, Topology
from mer_jax.sharding import axes_of


def too_large(plan: dict[str, Planned], chip: Chip) -> list[str]:
    """The names of the programs that a chip does not hold."""
    return [name for name, one in plan.items() if not one.fits(chip)]


def as_json(plan: dict[str, Planned], topology: Topology) -> dict:
    """The plan as JSON values; null where a refused program does not say it."""
    return {
        'topology': topology.name,
        'chips': len(topology.devices),
        'hbm_bytes': topology.chip.hbm,
        'programs': {name: program_as_json(one, topology.chip) for name, one in plan.items()},
        'fits': all(one.fits(topology.chip) for one in plan.values()),
    }


def program_as_json(one: Planned, chip: Chip) -> dict:
    """The figures of a program as JSON values; a rollout has those of its token loop too."""
    decoding = one.decoding
    loop = decoding and {'seconds': decoding.seconds(chip), 'limit': decoding.limit(chip)}
    return {
        'fits': one.fits(chip),
        'argument_bytes': one.memory.arguments,
        'temporary_bytes': one.memory.temporaries,
        'peak_bytes': one.memory.peak,
        'flops': one.cost and one.cost.flops,
        'collectives': one.cost and bytes_by_kind(one.cost.collectives),
        'seconds': one.cost and one.cost.seconds(chip),
        'compile_seconds': one.compile_seconds,
    } | ({'decoding': loop} if loop else {})


COLUMNS = (
    *('program', 'fits', 'arguments', 'outputs', 'aliased', 'temporaries', 'beside', 'peak'),
    *('TFLOP', 'compute', 'memory', 'links', 'bound by', 'compiling'),
)
TITLE = """\
{name}: {chips} chips of {hbm} GiB each. Figures are those of a chip, in GiB and in seconds.
Prompts: {tokens} tokens, media as {media}. `beside`: other arrays of the run, alive meanwhile.
compute, memory, links: the least seconds of each, of which the largest binds."""


def as_text(plan: dict[str, Planned], setting: Setting, topology: Topology, media: str) -> str:
    """The plan as tables: programs, the largest collectives, the verdict."""
    chip, c = topology.chip, setting.config
    title = TITLE.format(
        name=topology.name,
        chips=len(topology.devices),
        hbm=f'{chip.hbm / GIB:.2f}',
        tokens=max(c.data.prompt_tokens),
        media={'largest': 'the largest that fit', 'features': 'features of the towers'}[media],
    )
    rows = [COLUMNS, *(row_of(name, one, chip) for name, one in plan.items())]
    details = [line for name, one in plan.items() for line in detail_lines(name, one, chip)]
    return '\n\n'.join([title, table(rows), '\n'.join(details), verdict(plan, setting, chip)])


def row_of(name: str, one: Planned, chip: Chip) -> tuple[str, ...]:
    """A line of the table of programs."""
    held = dataclasses.astuple(one.memory)
    arguments, outputs, aliased, temporaries, peak, beside = (gib(size) for size in held)
    sizes = arguments, outputs, aliased, temporaries, beside, peak
    work = ('-',) * 5
    if one.cost:
        seconds = one.cost.seconds(chip)
        binds = max(seconds, key=seconds.get)
        work = f'{one.cost.flops / 1e12:.3g}', *(f'{s:.2g}' for s in seconds.values()), binds
    fits = 'yes' if one.fits(chip) else 'no'
    return name, fits, *sizes, *work, f'{one.compile_seconds:.0f}'


def gib(size: int | None) -> str:
    """Bytes in GiB."""
    if size is None:
        return '-'
    return '<0.01' if 0 < size < GIB / 100 else f'{size / GIB:.2f}'


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append('  '.join([row[0].ljust(len(first)), *others]).rstrip())
    return '\n'.join(lines)


def detail_lines(name: str, one: Planned, chip: Chip, most: int = 4) -> list[str]:
    """The bytes of a program's collectives, its largest ones with their loops, and arrays."""
    if not one.cost:
        return []
    kinds = bytes_by_kind(one.cost.collectives)
    moved = ', '.join(f'{kind} {size / 1e9:.3g} GB' for kind, size in kinds.items())
    lines = [f'{name}: {moved or "no collectives"}']
    for moved in one.cost.collectives[:most]:
        trips = ' x '.join(str(trips) for _, trips in moved.loops) or 'no loop'
        lines.append(
            f'    {moved.all_bytes / 1e9:8.3g} GB  {moved.kind} of {moved.shape} over '
            f'{moved.group} chips, loops: {trips}, {shortened(moved.source)}'
        )
    lines += [
        f'    {gib(buffer.bytes):>8} GiB array {buffer.shape} of {shortened(buffer.line)}'
        for buffer in one.buffers
    ]
    if decoding := one.decoding:
        seconds, limit = decoding.seconds(chip), decoding.limit(chip)
        lines.append(
            f'    decoding {decoding.tokens} tokens: {seconds:.2g} s, {seconds / limit:.2g} times '
            f'the {limit:.2g} s in which a chip reads its share of weights and keys once a token'
        )
    return lines


def shortened(source: str, most: int = 90) -> str:
    """The name of an operation, cut where it is long: several operations may share one."""
    return source if len(source) <= most else f'{source[: most - 1]}…'


def verdict(plan: dict[str, Planned], setting: Setting, chip: Chip) -> str:
    """Whether the run fits, the least time of a step, and else the keys that would help."""
    learn, refused, lines = setting.config.learn, too_large(plan, chip), []
    step = {n: one for n, one in plan.items() if n not in ('cold_start', 'evaluate')}
    if step and all(one.cost for one in step.values()):
        updates = {'update': learn.minibatches * learn.epochs}
        least = {n: max(one.cost.seconds(chip).values()) for n, one in step.items()}
        seconds = sum(updates.get(n, 1) * least[n] for n in step)
        lines.append(f'A step of training takes at least {seconds:.3g} s.')
    if not refused:
        spare = chip.hbm - max(one.memory.peak for one in plan.values())
        return '\n'.join([*lines, f'fits: every program, with {gib(spare)} GiB to spare'])
    lines.append(f'does not fit: {", ".join(refused)}. Keys that would help:')
    return '\n'.join([*lines, *(f'    {hint}' for hint in hints(setting, refused))])


def hints(setting: Setting, refused: list[str]) -> list[str]:
    """Changes of a config that lower the memory of programs, those without a price first."""
    c, found = setting.config, []
    trains = {'update', 'cold_start'} & set(refused)
    shards, _ = count_shards(setting.rules, setting.mesh.shape)
    whole = c.prompts_per_step // shards
    share = whole // c.learn.minibatches
    if 'roll_out' in refused and c.rollout.microbatch != 1 and whole > 1:
        found.append('--config.rollout.microbatch=1: grows one prompt a device at a time')
    if 'update' in trains and c.learn.microbatch != 1 and share > 1:
        found.append('--config.learn.microbatch=1: one prompt a device at a time')
    if trains and not c.model.remat:
        found.append('--config.model.remat=True: layers are computed again in the backward pass')
    if setting.mesh.shape['data'] > 1 and 'data' not in axes_of(setting.rules['embed']):
        found.append('--config.mesh.data=1 --config.mesh.fsdp=-1: weights over all chips')
    if 'cold_start' in trains and c.cold_start.prompts_per_step > shards:
        found.append(f'--config.cold_start.prompts_per_step={shards}: one prompt a device')
    if c.optim.moments == 'float32':
        found.append("--config.optim.moments=bfloat16: half the optimizer's memory")
    heads = setting.spec.text.num_key_value_heads
    tensor = setting.mesh.shape['tensor']
    if heads % (2 * tensor) == 0 and setting.mesh.size % (2 * tensor) == 0:
        found.append(f'--config.mesh.tensor={2 * tensor}: fewer prompts, heads and columns a chip')
    if c.learn.chunk > 64:
        found.append('--config.learn.chunk=64: vocabulary logits of fewer tokens at a time')
    if c.learn.kl:
        found.append('--config.learn.kl=0.0: no reference is held; this changes the objective')
    if c.learn.train != 'lora':
        found.append(
            '--config.learn.train=lora --config.cold_start.towers=False: adapters alone; this '
            'changes the run (docs/LORA.md)'
        )
    if {'roll_out', 'judge', 'reference', 'scored', 'second_look'} & set(refused) and share > 1:
        found.append('--config.prompts_per_step: fewer prompts; this changes the run')
    return [*found, '--topology: more chips, or chips with more memory']
