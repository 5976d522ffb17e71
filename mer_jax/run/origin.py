"""The origin of a model: random weights, a run of this package, or a Hugging Face folder.

A checkpoint is named by its folder. A run names the checkpoint that it began with; following this
chain to its root gives the sizes, the tokenizer and the chat layout of any run.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mer_jax.data.positions import Layout
from mer_jax.data.stage.picture_tokenizer import picture_tokenizer
from mer_jax.data.stage.stage import stage_tokenizer
from mer_jax.data.tokenizer import read_tokenizer
from mer_jax.models.checkpoint import safetensors as stored
from mer_jax.models.checkpoint.kinds import refuse_other_kinds
from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.checkpoint.peft import read_lora
from mer_jax.models.lora import Lora, adapters_of, attach, detach, new_adapters, with_adapters
from mer_jax.models.omni import Omni, make_omni
from mer_jax.models.spec import AudioSpec, Spec, TextSpec, VisionSpec, read_spec, read_token_ids
from mer_jax.run.adapters import check_same, first_adapters, held_by_run, key_of, make_lora
from mer_jax.run.all_defaults import DEFAULTS
from mer_jax.run.checkpoints import load_policy
from mer_jax.run.config_rules import flat
from mer_jax.run.workdir import UNNAMED
from mer_jax.sharding import state_shardings, with_shardings
from mer_jax.storage.paths import path_of

STAGE_IDS = {
    'image': '<|IMAGE|>',
    'video': '<|VIDEO|>',
    'vision_start': '<|vision_bos|>',
    'vision_end': '<|vision_eos|>',
    'audio': '<|AUDIO|>',
    'audio_start': '<|audio_bos|>',
    'audio_end': '<|audio_eos|>',
}
PROMPTS_FILE = 'mer_jax.json'  # beside config.json: the config of the run that was exported


@dataclasses.dataclass(frozen=True)
class Origin:
    """Everything of a model but its weights: sizes, tokenizer, layout of its prompts."""

    root: pathlib.Path | None  # the Hugging Face folder, None for the embedded stage
    spec: Spec
    ids: dict[str, int]  # of the media tokens
    layout: Layout
    stage: str = 'films'  # whose tokenizer it has without a folder

    def tokenizer(self):
        """A new tokenizer: whether control tokens are split is a state of the object."""
        if self.root is None:
            return tokenizer_of_stage(self.stage)
        return read_tokenizer(self.root, self.ids)


def tokenizer_of_stage(stage: str):
    """A new tokenizer of config.data.stage."""
    return stage_tokenizer() if stage == 'films' else picture_tokenizer()


def open_origin(model, stage: str = 'films') -> Origin:
    """The origin of config.model and config.data.stage.

    ValueError if the folder or a size does not fit.
    """
    root = find_root(model.checkpoint)
    if root is None and not model.text:
        raise ValueError(
            f'model.checkpoint={model.checkpoint!r}: this config has no sizes, so name a Hugging '
            'Face folder, or a run that began with one'
        )
    if root is None:
        tokenizer = tokenizer_of_stage(stage)
        spec = make_spec(model, len(tokenizer))
        ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in STAGE_IDS.items()}
        return Origin(None, spec, ids, make_layout(spec, ids), stage)
    given = [key for key in ('text', 'vision', 'audio') if model[key]]
    if given:
        raise ValueError(
            f'model.{given[0]} is set, but model.checkpoint={model.checkpoint!r} has sizes of its '
            'own: take a config without sizes, e.g. --config configs/mer_r1.py:qwen2_5_omni_7b'
        )
    spec = read_spec(root, model.dtype, model.remat, model.attention)
    if spec.family != model.family:
        raise ValueError(
            f'model.family={model.family!r}, but {root} holds a model of the family '
            f'{spec.family!r}: set --config.model.family={spec.family}'
        )
    ids = read_token_ids(root)
    return Origin(root, spec, ids, make_layout(spec, ids))


def find_root(checkpoint: str) -> pathlib.Path | None:
    """The Hugging Face folder that a checkpoint descends from; None for the embedded stage."""
    seen = []
    while checkpoint:
        if checkpoint in seen:
            raise ValueError(f'model.checkpoint={checkpoint!r} descends from itself: {seen}')
        seen.append(checkpoint)
        folder = path_of(checkpoint)
        refuse_other_kinds(folder)
        config = read_json(folder / 'config.json')
        if is_hugging_face(config):
            return folder
        if 'model.checkpoint' not in config:
            raise ValueError(
                f'{folder / "config.json"}: belongs neither to a run (key model.checkpoint) nor to '
                'a Hugging Face checkpoint (key model_type); name a folder of either kind'
            )
        checkpoint = config['model.checkpoint']
    return None


def config_of(checkpoint: str, method: str = 'mer_r1', adapter: str = '') -> ConfigDict:
    """The config that a checkpoint was trained with, or the defaults published for its family.

    Its model.checkpoint is that checkpoint; `method` is that of a folder that no run has written.
    With an `adapter` in the format of PEFT it is that of the adapter, if a run has written it.
    Rewards and their weights are left out: answers do not need them. ValueError if the folder holds
    no config.
    """
    folder, root = path_of(checkpoint), find_root(checkpoint)
    config = folder / 'config.json'
    of_run = not is_hugging_face(read_json(config))
    if not of_run:
        config = folder / PROMPTS_FILE
    if adapter and (path_of(adapter) / PROMPTS_FILE).exists():
        config = path_of(adapter) / PROMPTS_FILE
    kept = read_json(config) if config.exists() else {}
    base = defaults_of(kept.get('method', UNNAMED['method'] if kept else method), config)
    c = base.stage() if root is None else base.published(read_spec(root).family)
    for key, known in flat(c).items():
        if key == 'learn.rewards' or key.startswith('learn.weights.'):
            continue
        value = kept.get(key, known)
        value = tuple(value) if isinstance(value, list) else value
        kinds = (float, int) if type(known) is float else (type(known),)
        if type(value) not in kinds:
            raise ValueError(
                f'{config}: {key}={kept[key]!r} must be of type {type(known).__name__}; put the '
                'value back'
            )
        c.update_from_flattened_dict({key: value})
    c.model.checkpoint, c.model.adapter = checkpoint, adapter
    if adapter:
        take_adapter(c, read_lora(path_of(adapter)))
    elif c.learn.train == 'lora' and not of_run:
        c.learn.train = 'decoder'  # an export holds weights with which adapters are merged
    return c


def take_adapter(c, lora: Lora) -> None:
    """Sets the keys of a config to those of an adapter that exists."""
    c.learn.train, c.cold_start.towers = 'lora', False
    c.learn.lora = ConfigDict(dataclasses.asdict(lora))


def base_of(checkpoint: str) -> str:
    """The model beside which the adapters of a checkpoint were trained."""
    while checkpoint:
        config = read_json(path_of(checkpoint) / 'config.json')
        if is_hugging_face(config) or not held_by_run(config):
            break
        checkpoint = config['model.checkpoint']
    return checkpoint


def defaults_of(method: str, config: pathlib.Path):
    """The module with the default configs of a method; ValueError for an unknown one."""
    if method not in DEFAULTS:
        raise ValueError(f'{config}: method={method!r} must be one of {", ".join(DEFAULTS)}')
    return DEFAULTS[method]


def is_hugging_face(config: dict) -> bool:
    """Whether a config.json belongs to a Hugging Face checkpoint."""
    return 'model_type' in config


def read_json(path: pathlib.Path) -> dict:
    """The object in a JSON file of a checkpoint; ValueError if it is missing or damaged."""
    try:
        return stored.read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{path}: must hold the config of a checkpoint ({error}); name the folder of a Hugging '
            'Face checkpoint, or the --workdir of a run'
        ) from None


def make_spec(model, tokens: int) -> Spec:
    """The spec of config.model; vocabulary rows are a multiple of 64 so that they shard."""
    text = TextSpec(vocab_size=-(-tokens // 64) * 64, **model.text)
    width = text.hidden_size
    return Spec(
        text=text,
        vision=VisionSpec(out_hidden_size=width, **model.vision),
        audio=AudioSpec(output_dim=width, **model.audio) if model.family == 'omni' else None,
        family=model.family,
        dtype=model.dtype,
        remat=model.remat,
        attention=model.attention,
    )


def make_layout(spec: Spec, ids: dict[str, int]) -> Layout:
    """The numbers of a spec and the ids of its media tokens by which prompts are laid out."""
    vision, audio = spec.vision, spec.audio
    if audio is None:
        ids = {name: number for name, number in ids.items() if not name.startswith('audio')}
    sound = {'chunk': 2 * audio.n_window, 'bands': audio.num_mel_bins} if audio else {}
    return Layout(
        family=spec.family,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        temporal_patch=vision.temporal_patch_size,
        window=vision.window_size // vision.spatial_merge_size // vision.patch_size,
        position_id_per_seconds=spec.position_id_per_seconds,
        seconds_per_chunk=spec.seconds_per_chunk,
        tokens_per_second=spec.tokens_per_second,
        **ids,
        **sound,
    )


def first_policy(origin: Origin, c, mesh, keep: Callable = lambda _, program: program) -> Omni:
    """The policy that a run starts from, on the mesh: read from its checkpoint, or random.

    With learn.train=lora it has adapters: those of the checkpoint, those of model.adapter, or new
    ones. `keep` is for the program that draws weights, as in `run.traced`.
    """
    spec, checkpoint = origin.spec, c.model.checkpoint
    like = abstract_policy(spec, c, mesh)
    if not checkpoint:
        wanted, tree = jax.tree.flatten(like)

        def fresh():
            drawn = jax.tree.leaves(random_policy(spec, c))
            return [leaf.astype(one.dtype) for leaf, one in zip(drawn, wanted, strict=True)]

        program = jax.jit(fresh, out_shardings=[one.sharding for one in wanted])
        program = keep(name_of_weights(c.seed, like), program)
        return jax.tree.unflatten(tree, program())
    folder = path_of(checkpoint)
    config = read_json(folder / 'config.json')
    held = held_by_run(config)
    if held:
        check_holder(c, held)
        base = detach(first_policy(origin, start_of(c, config), mesh))
        return load_policy(folder, attach(base, adapters_of(like), held))
    base = detach(like)
    policy = load_omni(folder, base) if is_hugging_face(config) else load_policy(folder, base)
    if c.learn.train != 'lora':
        return policy
    return attach(policy, first_adapters(like, c), make_lora(c.learn.lora))


def name_of_weights(seed: int, like: Omni) -> str:
    """The name by which `run.traced` keeps the program that draws weights like these.

    It holds their dtypes, which also depend on whether a stage of the run trains the towers.
    """
    return f'weights {seed} {[str(leaf.dtype) for leaf in jax.tree.leaves(like)]}'


def start_of(c, config: dict) -> ConfigDict:
    """The config `c` with the checkpoint that a run with this config.json began with.

    The weights beside its adapters are read from there, for they are in no save of the run.
    """
    start = c.copy_and_resolve_references()
    with start.unlocked():
        start.seed, start.model.checkpoint = config['seed'], config['model.checkpoint']
        start.model.adapter = ''
    return start


def check_holder(c, held: Lora) -> None:
    """Raises ValueError if a run does not train the adapters of the run that it starts from."""
    checkpoint = f'model.checkpoint={c.model.checkpoint}'
    way_out = (
        'export that run (python -m mer_jax.export --run RUN --out DIR), which merges its '
        'adapters into the weights, and start from the export'
    )
    if c.learn.train != 'lora':
        raise ValueError(
            f'learn.train={c.learn.train!r}: {checkpoint} is a run that trains adapters, and only '
            f'learn.train=lora trains them further; set it, or {way_out}'
        )
    if c.model.adapter:
        raise ValueError(
            f'model.adapter={c.model.adapter!r}: {checkpoint} is a run with adapters of its own; '
            f'leave one of them out, or {way_out}'
        )
    check_same(make_lora(c.learn.lora), held, checkpoint)


def random_policy(spec: Spec, c) -> Omni:
    """A policy with random weights, and with new adapters where learn.train is lora."""
    omni = make_omni(jax.random.key(c.seed), spec)
    if c.learn.train != 'lora':
        return omni
    lora = make_lora(c.learn.lora)
    return attach(omni, new_adapters(key_of(c), omni, lora), lora)


@functools.cache
def shapes_of(spec: Spec, lora: Lora | None) -> Omni:
    """The shapes of a policy, and of its adapters if there are any; tracing them takes a while."""

    def drawn():
        omni = make_omni(None, spec)
        return attach(omni, new_adapters(jax.random.key(0), omni, lora), lora) if lora else omni

    return jax.eval_shape(drawn)


def abstract_policy(spec: Spec, c, mesh) -> Omni:
    """The shapes, dtypes and shardings of the policy that a run starts from.

    Trained weights are stored in config.model.weights. Weights that no stage of the run trains are
    stored in config.model.dtype, to which they are cast for every use: towers, or all but adapters,
    which are float32.
    """
    abstract = shapes_of(spec, make_lora(c.learn.lora) if c.learn.train == 'lora' else None)
    trained = (c.cold_start.steps and c.cold_start.towers) or (c.steps and c.learn.train == 'all')
    towers = c.model.weights if trained else c.model.dtype
    like = abstract.replace(
        decoder=as_dtype(
            abstract.decoder, c.model.dtype if c.learn.train == 'lora' else c.model.weights
        ),
        visual=as_dtype(abstract.visual, towers),
        audio_tower=as_dtype(abstract.audio_tower, towers),
    )
    like = with_adapters(like, as_dtype(adapters_of(like), 'float32'))
    return with_shardings(like, state_shardings(mesh, like))


def as_dtype(tree, dtype: str):
    """An abstract tree with leaves of this dtype."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)), tree)
