"""What a step is timed on: a model, prompts with their media, and the size of the branches."""

import dataclasses
import pathlib

import jax
import numpy as np

from mer_jax.data.collate import batch_prompts
from mer_jax.data.media.pictures import patches
from mer_jax.data.prompts import fill_prompt
from mer_jax.group import Array, Media, Prompts, Reading
from mer_jax.models.spec import Spec, TextSpec, read_spec, read_token_ids
from mer_jax.rl.grow import Sampling
from mer_jax.run.defaults import mer_r1
from mer_jax.run.origin import make_layout
from mer_jax.run.setting import Setting, choose_clips


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a step is timed on: a model, prompts with their media, and the size of the branches."""

    spec: Spec
    prompts: Prompts
    starts_wcn: Array
    g: int
    s: int  # tokens of a branch, the last one of the prompt among them
    echo: int  # tokens of an echo branch
    anchors: int
    end: int  # never sampled here, so every branch is full
    banned: tuple[int, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """How branches are sampled; nobody ends early."""
        return Sampling(tokens=self.s, end=self.end, banned=(*self.banned, self.end))

    def copied(self) -> 'Workload':
        """The same branches, each as a group of one with a copy of its prompt."""
        prompts = jax.tree.map(lambda leaf: np.repeat(leaf, self.g, axis=0), self.prompts)
        return dataclasses.replace(self, prompts=prompts, g=1)


def stage_config(seed: int):
    """The default config with this seed."""
    c = mer_r1()
    c.seed = seed
    return c


def stage_workload(seed: int, prompts: int | None, group: int | None, new: int | None) -> Workload:
    """Clips of the embedded stage in the sizes of the default config."""
    c = stage_config(seed)
    setting = Setting(c, *choose_clips(c))
    clips = range(prompts or c.prompts_per_step)
    batch = setting.collate([setting.example(setting.train_clips[i]) for i in clips])
    return Workload(
        spec=setting.spec,
        prompts=batch,
        starts_wcn=setting.starts_wcn,
        g=group or c.rollout.group,
        s=1 + new if new else c.rollout.slow_tokens,
        echo=c.rollout.echo_tokens,
        anchors=c.rollout.anchors,
        end=setting.end,
        banned=setting.sampling(1.0, 1.0).banned,
    )


def text_workload(seed: int, prompts: int | None, group: int | None, new: int | None) -> Workload:
    """Random text for a decoder of 12 million weights; its echo is as short as can be."""
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
    token_bt = np.random.default_rng(seed).integers(1, text.vocab_size, (prompts or 4, 513))
    return Workload(
        spec=Spec(text, vision=None, audio=None, remat=True),
        prompts=text_prompts(token_bt.astype(np.int32)),
        starts_wcn=np.ones((1, 1, 1), np.int32),
        g=group or 8,
        s=1 + (new or 64),
        echo=2,
        anchors=1,
        end=0,
    )


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
        pictures, seconds = [], []
        if image:
            frames = random.integers(0, 256, (1, image, image, 3), np.uint8)
            sides = layout.patch, layout.merge, layout.temporal_patch
            pictures, seconds = [patches(frames, *sides)], [0.0]
            chat = [layout.vision_start, layout.image, layout.vision_end, *chat]
        batch.append(fill_prompt(str(number), chat, pictures, seconds, [], layout, False))
    length = max(len(prompt.token) for prompt in batch)
    return Workload(
        spec=spec,
        prompts=batch_prompts(batch, length, np.ones((len(batch), 1, 1), bool), 0),
        starts_wcn=np.ones((1, 1, 1), np.int32),
        g=group or 8,
        s=1 + (new or 64),
        echo=2,
        anchors=1,
        end=0,
        banned=tuple(ids.values()),
    )


PRESETS = {'stage': stage_workload, 'text': text_workload}


def text_prompts(token_bt) -> Prompts:
    """Prompts of plain text; the last token of each row is what its branches start with."""
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
        gold=np.ones((b, 1, 1), bool),
    )


def random_reading(work: Workload, seed: int) -> Reading:
    """A reading of the right sizes whose groups vary, so that there is something to learn."""
    random = np.random.default_rng(seed)
    (b, w, c), g = work.prompts.gold.shape, work.g
    return Reading(
        named=random.random((b, g, w, c)) < 0.2,
        formed=random.random((b, g)) < 0.5,
        anchor=random.integers(1, work.s, (b, g, work.anchors), np.int32),
        right=random.random((b, g, work.anchors)) < 0.5,
        echo=random.integers(0, work.spec.text.vocab_size, (b, g, work.echo), np.int32),
        echo_anchor=random.integers(1, work.echo, (b, g, work.anchors), np.int32),
    )
