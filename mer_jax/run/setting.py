"""Everything that a run builds once from its config: model sizes, words, method, mesh, batches."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from mer_jax.data.chat import chat_ids
from mer_jax.data.clips import Clip
from mer_jax.data.loader import Batches, Damages, Example, training_batches
from mer_jax.data.positions import VIDEO_POSITIONS
from mer_jax.data.texts import TextReader
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.methods import METHODS
from mer_jax.methods.method import Method, Words
from mer_jax.models.omni import Omni
from mer_jax.rl.score import Sampling
from mer_jax.rl.step import Learn
from mer_jax.run.batching import Batcher
from mer_jax.run.config_rules import check_config
from mer_jax.run.defaults import mesh_rules
from mer_jax.run.examples import Encoder, ExampleWriter
from mer_jax.run.mesh_rules import read_rules
from mer_jax.run.origin import Origin, config_of, first_policy, open_origin
from mer_jax.run.shares import numbers_of_rows, rows_here
from mer_jax.sharding import exact_products, make_mesh, use_rules
from mer_jax.storage.paths import naming

END = '<|im_end|>'  # ends a turn; it belongs to a branch and is learnt


class Setting:
    """Everything of a run that no update changes.

    Without clips it can still answer prompts. `origin` is that of the config, and `devices` are all
    of this machine, if they are not given.
    """

    def __init__(
        self,
        c,
        train_clips=(),
        test_clips=(),
        validation_clips=(),
        damages: Damages | None = None,
        origin: Origin | None = None,
        devices: Sequence | None = None,
    ):
        self.config = c
        self.mesh = make_mesh(c.mesh.data, c.mesh.fsdp, c.mesh.tensor, devices)
        self.rules = read_rules(c.mesh.rules)
        self.origin = origin or open_origin(c.model, c.data.stage)
        self.spec = self.origin.spec
        self.tokenizer = self.origin.tokenizer()
        self.encode = Encoder(self.tokenizer)
        self.end = self.tokenizer.convert_tokens_to_ids(END)
        self.wheels = load_wheels(tuple(c.data.wheels)) if c.data.wheels else None
        self.texts = TextReader(self.tokenizer, self.end)
        self.method = make_method(c, Words(self.encode, self.texts, self.wheels, self.ask))
        layout = dataclasses.replace(
            self.origin.layout, max_rule=c.model.video_positions == VIDEO_POSITIONS[0]
        )
        self.writer = ExampleWriter(c, self.tokenizer, layout, self.method, self.encode, self.end)
        self.batcher = Batcher(self.writer, self.spec)
        self.train_clips, self.test_clips = train_clips, test_clips
        self.validation_clips, self.damages = validation_clips, damages
        self.traced: pathlib.Path | None = None  # where traced programs are kept, see run.traced

    @contextlib.contextmanager
    def in_use(self):
        """A context in which programs run on the mesh of this setting, by its rules.

        Products of float32 are exact there: see `exact_products`.
        """
        exact = exact_products(self.spec.dtype, self.mesh)
        with jax.set_mesh(self.mesh), use_rules(self.rules), exact:
            yield

    def ask(self, text: str, pictured: bool) -> list[int]:
        """Token ids of a chat in which the user says a text, as far as the answer.

        If it is pictured, the user shows a picture first, and the ids are those behind it.
        """
        kinds = ('image',) if pictured else ()
        ids = chat_ids(self.tokenizer, kinds, self.config.data.system, text)
        return ids[ids.index(self.origin.layout.image) + 1 :] if pictured else ids

    def sampling(self, temperature: float, top_p: float) -> Sampling:
        """How branches are sampled: no special token but the end, no row without a token."""
        special = set(self.tokenizer.added_tokens_decoder) - {self.end}
        beyond = range(len(self.tokenizer), self.spec.text.vocab_size)
        return Sampling(
            tokens=self.config.rollout.slow_tokens,
            end=self.end,
            banned=tuple(sorted(special | set(beyond))),
            temperature=temperature,
            top_p=top_p,
        )

    def openings(self, *modes: str) -> np.ndarray:
        """The forced beginning of a branch of each mode, i[g, o], padded with −1."""
        branches = [self.encode(self.method.openings[mode]) for mode in modes]
        longest = max(map(len, branches))
        return np.array([ids + [-1] * (longest - len(ids)) for ids in branches], np.int32)

    def openings_of_group(self) -> np.ndarray:
        """The forced beginning of each branch of a group in training, i[g, o]; fast ones last."""
        fast = self.method.fast
        return self.openings(*['slow'] * (self.config.rollout.group - fast), *['fast'] * fast)

    def batches(
        self,
        clips,
        size: int,
        salt: int,
        prepare: Callable[[Clip], Example],
        minibatches: int = 1,
    ) -> Batches:
        """Batches of so many examples of clips, of which this process reads its devices' rows.

        The clips of a batch, their numbers in it and those of each minibatch are the same on every
        mesh and at any number of processes.
        """
        return training_batches(
            clips,
            prepare,
            self.damages,
            seed=self.config.seed * 2 + salt,
            size=size,
            numbers=numbers_of_rows(self.mesh, size, minibatches)[rows_here(self.mesh, size)],
            threads=self.config.data.threads,
        )


def make_method(c, words: Words) -> Method:
    """The method that a config names, with its rules."""
    module = METHODS[c.method]
    keys = dict(c.data) | dict(c.rollout) | dict(c.learn)
    return module.make(from_section(module.Rules, keys), words)


def make_learn(learn) -> Learn:
    """The frozen form of config.learn, as far as updates need it."""
    return from_section(Learn, learn)


def from_section(kind, section):
    """A frozen dataclass filled with the keys of a section of a config that are its fields."""
    values = {}
    for field in dataclasses.fields(kind):
        value = section[field.name]
        if dataclasses.is_dataclass(field.type):
            value = from_section(field.type, value)
        elif isinstance(value, ConfigDict):
            value = value.to_dict()
        values[field.name] = value
    return kind(**values)


def open_checkpoint(checkpoint: str, adapter: str = '') -> tuple[Setting, Omni]:
    """A setting and a policy to ask, of a run's workdir, an export, or a Hugging Face folder.

    An `adapter` is a folder of PEFT for that model. A prompt is read by all devices together.
    ValueError where the folder holds no checkpoint.
    """
    with naming(checkpoint):
        c = config_of(checkpoint, adapter=adapter)
    c.mesh = ConfigDict(dict(data=1, fsdp=1, tensor=-1))  # a single prompt cannot be split
    c.mesh.rules = mesh_rules()
    try:
        check_config(c)
    except ValueError as error:
        raise ValueError(f'{checkpoint}: its config cannot be used: {error}') from None
    return answering(c)


def answering(c, damages: Damages | None = None) -> tuple[Setting, Omni]:
    """A setting without clips and its policy; weights are stored in model.dtype.

    Attention is of the kind that suits these devices, whichever ones it was trained on.
    """
    c.model.weights, c.model.attention = c.model.dtype, 'auto'
    c.cold_start.steps = 0
    setting = Setting(c, damages=damages)
    with setting.in_use(), naming(c.model.checkpoint):
        return setting, first_policy(setting.origin, c, setting.mesh)
