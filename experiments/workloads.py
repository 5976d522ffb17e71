"""Workloads that are timed: a model, prompts with their media, a method, sizes of branches."""

import dataclasses
import pathlib

import jax
import numpy as np

from mer_jax.data.clips import Clip
from mer_jax.data.collate import batch_prompts
from mer_jax.data.media.pictures import patches
from mer_jax.data.positions import Layout
from mer_jax.data.prompts import Prompt, fill_prompt
from mer_jax.data.texts import Text, TextReader
from mer_jax.data.wheels.wheel import Wheels
from mer_jax.group import Media, Prompts
from mer_jax.methods import mer_r1
from mer_jax.methods.mer_r1_reading import Reading
from mer_jax.methods.method import Method, Words
from mer_jax.models.spec import Spec, TextSpec, read_spec, read_token_ids
from mer_jax.rl.score import Sampling
from mer_jax.run.chosen_clips import choose_clips
from mer_jax.run.defaults import mer_r1 as default_config
from mer_jax.run.origin import make_layout
from mer_jax.run.setting import Setting


@dataclasses.dataclass(frozen=True)
class Workload:
    """Everything that a timed step is given.

    The end token is never sampled, so every branch is full.
    """

    spec: Spec
    prompts: Prompts
    clips: tuple[Clip, ...]  # of the prompts
    method: Method
    texts: TextReader
    g: int
    s: int  # tokens of a branch, the last one of the prompt among them
    echo: int  # tokens of an echo branch
    anchors: int
    banned: tuple[int, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """How branches are sampled: at temperature 1, without top-p, until they are full."""
        end = self.texts.end
        return Sampling(tokens=self.s, end=end, banned=(*self.banned, end))

    def copied(self) -> 'Workload':
        """The same branches, each as a group of one with a copy of its prompt."""
        prompts = jax.tree.map(lambda leaf: np.repeat(leaf, self.g, axis=0), self.prompts)
        clips = tuple(clip for clip in self.clips for _ in range(self.g))
        return dataclasses.replace(self, prompts=prompts, clips=clips, g=1)


def stage_config(seed: int):
    """The default config with this seed."""
    c = default_config()
    c.seed = seed
    return c


def stage_workload(seed: int, prompts: int | None, group: int | None, new: int | None) -> Workload:
    """Clips of the embedded stage in the sizes of the default config."""
    c = stage_config(seed)
    setting = Setting(c, *choose_clips(c))
    clips = tuple(setting.train_clips[i] for i in range(prompts or c.prompts_per_step))
    return Workload(
        spec=setting.spec,
        prompts=setting.batcher.collate([setting.writer.example(clip) for clip in clips]),
        clips=clips,
        method=setting.method,
        texts=setting.texts,
        g=group or c.rollout.group,
        s=1 + new if new else c.rollout.slow_tokens,
        echo=c.rollout.echo_tokens,
        anchors=c.rollout.anchors,
        banned=setting.sampling(1.0, 1.0).banned,
    )


def text_workload(seed: int, prompts: int | None, group: int | None, new: int | None) -> Workload:
    """Random text for a decoder of 12 million weights."""
    text = TextSpec(
        vocab_size=8192,
        hidden_size=256,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=1024,
        mrope_section=(4, 6, 6),
    )
    spec = Spec(text, vision=None, audio=None, remat=True)
    token_bt = np.random.default_rng(seed).integers(1, text.vocab_size, (prompts or 4, 513))
    return random_workload(spec, text_prompts(token_bt.astype(np.int32)), group, new)


def checkpoint_workload(
    folder: pathlib.Path,
    seed: int,
    prompts: int | None,
    group: int | None,
    new: int | None,
    image: int,
    text: int,
) -> Workload:
    """Random text, after an image of noise if `image` is its side in pixels, for a checkpoint."""
    spec, ids = read_spec(folder, remat=True), read_token_ids(folder)
    layout, random = make_layout(spec, ids), np.random.default_rng(seed)
    if image % (layout.patch * layout.merge):
        raise ValueError(
            f'--image={image}: must be a multiple of patch_size * spatial_merge_size = '
            f'{layout.patch * layout.merge}, or 0 for none'
        )
    batch = []
    for number in range(prompts or 4):
        words = random.integers(0, spec.text.vocab_size, text + 1)
        chat = np.where(np.isin(words, list(ids.values())), 0, words).tolist()
        batch.append(random_prompt(str(number), chat, image, layout, random))
    length = max(len(prompt.token) for prompt in batch)
    banned = tuple(ids.values())
    return random_workload(spec, batch_prompts(batch, length, 0), group, new, banned)


PRESETS = {'stage': stage_workload, 'text': text_workload}


def random_prompt(number: str, chat: list[int], image: int, layout: Layout, random) -> Prompt:
    """The prompt of these tokens, after an image of noise unless its side `image` is 0."""
    if not image:
        return fill_prompt(number, chat, [], [], [], layout, False)
    frames = random.integers(0, 256, (1, image, image, 3), np.uint8)
    picture = patches(frames, layout.patch, layout.merge, layout.temporal_patch)
    shown = [layout.vision_start, layout.image, layout.vision_end, *chat]
    return fill_prompt(number, shown, [picture], [0.0], [], layout, False)


def text_prompts(token_bt) -> Prompts:
    """Prompts of plain text; the last token of each row is the first of its branches."""
    b, t = token_bt.shape[0], token_bt.shape[1] - 1
    media = Media(
        patch=np.zeros((b, 0, 0, 0), np.float32),
        patch_mask=np.zeros((b, 0, 0), bool),
        patch_row_col=np.zeros((b, 0, 0, 2), np.int32),
        sound=np.zeros((b, 0, 0, 0), np.float32),
        sound_length=np.zeros((b, 0), np.int32),
        sound_pair=np.zeros((b, 0, 2), np.int32),
        place=np.full((b, t), -1, np.int32),
    )
    return Prompts(
        token=token_bt[:, :-1],
        mask=np.ones((b, t), bool),
        position=np.broadcast_to(np.arange(t, dtype=np.int32), (b, 3, t)),
        start=token_bt[:, -1],
        next_position=np.full(b, t, np.int32),
        media=media,
    )


class NumberedWords:
    """A tokenizer whose token i is the word ` wi`; a text of it holds no answer."""

    all_special_ids = ()
    added_tokens_decoder = ()

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f' w{i}' for i in ids]


ONE_WORD = Wheels(  # one wheel of one category, which one word names
    names=('one',),
    categories_lw=((('any',),), (('any',),)),
    row={'word': 0},
    place_lnw=np.array([[[0], [-1]]] * 2, np.int16),
    base={},
    synonym={},
)


def random_workload(
    spec: Spec,
    prompts: Prompts,
    group: int | None = None,
    new: int | None = None,
    banned: tuple[int, ...] = (),
    *,
    echo: int = 2,
    anchors: int = 1,
) -> Workload:
    """Prompts of random tokens for MER-R1 with one emotion word; the echo is as short as can be.

    Token 0 ends a branch, and token 1 is the emotion word.
    """
    texts = TextReader(NumberedWords(spec.text.vocab_size), end=0)
    rules = mer_r1.Rules(anchors=anchors, echo_tokens=echo)
    clips = (Clip(str(row), words=('word',)) for row in range(len(prompts.start)))
    return Workload(
        spec=spec,
        prompts=prompts,
        clips=tuple(clips),
        method=mer_r1.make(rules, Words(lambda text: [1], texts, ONE_WORD)),
        texts=texts,
        g=group or 8,
        s=1 + (new or 64),
        echo=echo,
        anchors=anchors,
        banned=banned,
    )


def random_reading(work: Workload, seed: int) -> Reading:
    """A reading of the right sizes whose groups vary, so that there is something to learn."""
    silent = [[Text((), ())] * work.g for _ in work.clips]
    reading, _ = work.method.read(silent, work.clips)
    random = np.random.default_rng(seed)
    return reading.replace(
        named=random.random(reading.named.shape) < 0.2,
        formed=random.random(reading.formed.shape) < 0.5,
        anchor=random.integers(1, work.s, reading.anchor.shape, np.int32),
        right=random.random(reading.right.shape) < 0.5,
        echo=random.integers(0, work.spec.text.vocab_size, reading.echo.shape, np.int32),
        echo_anchor=random.integers(1, work.echo, reading.echo_anchor.shape, np.int32),
    )


def copied_reading(reading: Reading) -> Reading:
    """The reading of `Workload.copied`: each branch is a group of its own."""
    g = reading.named.shape[1]
    alone = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), reading)
    return alone.replace(gold=np.repeat(reading.gold, g, axis=0))
