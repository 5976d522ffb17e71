"""What a run stands on, built once from its config: sizes, words, prompts, mesh, batches."""

import copy
import dataclasses
import logging
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mer_jax.data.benchmarks import BENCHMARKS
from mer_jax.data.cache import FeatureCache
from mer_jax.data.clips import Clip, read_manifest
from mer_jax.data.loader import Damages, Example, StageClips, hold_out, training_batches
from mer_jax.data.media.video import MediaError
from mer_jax.data.prompts import (
    FAST_OPENING,
    SLOW_OPENING,
    Prompt,
    batch_prompts,
    fast_text,
    slow_text,
    write_prompt,
)
from mer_jax.data.wheels.wheel import load_wheels
from mer_jax.group import Prompts
from mer_jax.methods.mer_r1_reading import Reader
from mer_jax.models.omni import Omni
from mer_jax.rl.grow import Sampling
from mer_jax.run.config_rules import check_config
from mer_jax.run.origin import config_of, first_policy, open_origin
from mer_jax.sharding import largest_of_all, make_mesh, to_host

log = logging.getLogger(__name__)

PROMPT_KEYS = (  # of config.data, all that a prompt depends on besides its clip
    'system',
    'subtitle',
    'question',
    'audio_in_video',
    'fps',
    'max_frames',
    'min_pixels',
    'max_pixels',
)
END = '<|im_end|>'  # ends a turn; it belongs to a branch and is learnt


class Setting:
    """Everything of a run that no update changes.

    A setting without clips speaks and reads, but has nothing to train on or to evaluate.
    """

    def __init__(self, c, train_clips=(), test_clips=(), damages: Damages | None = None):
        self.config = c
        self.mesh = make_mesh(c.mesh.data, c.mesh.fsdp, c.mesh.tensor)
        self.origin = open_origin(c.model)
        self.spec, self.layout = self.origin.spec, self.origin.layout
        self.tokenizer = self.origin.tokenizer()
        # Whether control tokens are split is a state of a tokenizer that threads would share.
        self.plain_tokenizer = copy.deepcopy(self.tokenizer)
        self.wheels = load_wheels(tuple(c.data.wheels))
        self.starts_wcn = self.wheels.first_tokens(self.encode)
        self.end = self.tokenizer.convert_tokens_to_ids(END)
        rollout = c.rollout
        self.reader = Reader(
            self.tokenizer, self.wheels, self.end, rollout.anchors, rollout.echo_tokens
        )
        self.slow_opening = self.encode(SLOW_OPENING)
        self.fast_opening = self.encode(FAST_OPENING)
        self.train_clips, self.test_clips, self.damages = train_clips, test_clips, damages

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; nothing in it becomes a control token."""
        return self.plain_tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )

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

    def openings(self, *branches: list[int]) -> np.ndarray:
        """What each branch is forced to begin with, i[g, o], padded with −1."""
        longest = max(map(len, branches))
        return np.array([ids + [-1] * (longest - len(ids)) for ids in branches], np.int32)

    def prompt(self, clip: Clip) -> Prompt:
        """The clip as a prompt; MediaError if its media cannot be used or it is too long."""
        data = self.config.data
        if clip.subtitle:
            said = data.subtitle.replace('{}', clip.subtitle)
            clip = dataclasses.replace(clip, subtitle=said)
        prompt = write_prompt(
            clip,
            self.tokenizer,
            self.layout,
            data.question,
            system=data.system,
            fps=data.fps,
            pixels=(data.min_pixels, data.max_pixels),
            max_frames=data.max_frames,
            audio_in_video=data.audio_in_video,
        )
        return self.fitting(prompt)

    def fitting(self, prompt: Prompt) -> Prompt:
        """The prompt, if it is not too long; else MediaError."""
        length, limit = len(prompt.token), max(self.config.data.prompt_tokens)
        if length > limit:
            shown, layout = set(prompt.token.tolist()), self.layout
            ways = ['raise it (--prompt-tokens of mer_jax.predict)']
            if layout.video in shown:
                ways.append('lower data.max_frames')
            if shown & {layout.video, layout.image}:
                ways.append('lower data.max_pixels')
            raise MediaError(
                f'clip {prompt.id}: its prompt has {length} tokens, data.prompt_tokens={limit} is '
                f'the most; {", ".join(ways)} or shorten the clip'
            )
        return prompt

    def example(self, clip: Clip, cache: FeatureCache | None = None) -> Example:
        """The clip as a prompt, from the cache if it is there.

        Raises MediaError if its files cannot be read, it does not fit data.prompt_tokens, or none
        of its gold words is in a wheel, so that no answer to it could be right.
        """
        if not self.wheels.cells([clip.words]).any():
            raise MediaError(
                f'clip {clip.id}: none of its gold words ({", ".join(clip.words)}) is in any of '
                f'data.wheels={",".join(self.wheels.names)}; add one that has them'
            )
        return self.bare_example(clip, cache)

    def bare_example(self, clip: Clip, cache: FeatureCache | None = None) -> Example:
        """`example` of a clip whose gold words need not be known."""
        kept = cache.load(clip) if cache else None
        return Example(clip, self.fitting(kept) if kept else self.prompt(clip))

    def gold_example(self, clip: Clip, cache: FeatureCache | None = None) -> Example:
        """The clip as a prompt with its gold branches.

        Raises MediaError as `example` does, and if a branch does not fit rollout.slow_tokens.
        """
        slow = self.gold_branch(clip, self.slow_opening, slow_text(clip))
        fast = self.gold_branch(clip, self.fast_opening, fast_text(clip))
        return dataclasses.replace(self.example(clip, cache), slow=slow, fast=fast)

    def filler(self) -> Example:
        """An example that fills a batch; what is answered to it is thrown away."""
        clip = Clip(id='', subtitle='.', words=('neutral',))
        return Example(clip, self.prompt(clip))

    def gold_branch(self, clip: Clip, opening: list[int], text: str) -> tuple[int, ...]:
        """What a gold branch says after the prompt's last token, its opening first."""
        ids = *opening, *self.encode(text), self.end
        longest = self.config.rollout.slow_tokens - 1
        if len(ids) > longest:
            raise MediaError(
                f'clip {clip.id}: a gold branch has {len(ids) + 1} tokens, rollout.slow_tokens='
                f'{longest + 1} is the most; raise it or shorten the reasoning'
            )
        return ids

    def collate(self, examples: list[Example]) -> Prompts:
        """The prompts of examples as numpy arrays, of the same shapes in every process.

        Shapes come in few sizes (size_class, and data.prompt_tokens for the prompt), so that a
        run compiles a handful of programs.
        """
        prompts = self.alike(examples)
        sizes = [(len(p.token), *p.patch_mask.shape, len(p.sound)) for p in prompts]
        tokens, frames, patches, chunks = largest_of_all(np.max(sizes, 0))
        window = (self.layout.window * self.layout.merge) ** 2
        chunks = size_class(chunks)
        return batch_prompts(
            prompts,
            min(size for size in self.config.data.prompt_tokens if size >= tokens),
            self.wheels.cells([example.clip.words for example in examples]),
            self.tokenizer.pad_token_id,
            frames=size_class(frames),
            patches=size_class(patches // window) * window,
            chunks=chunks,
            audio_tokens=-(-chunks * self.layout.chunk // 4),
        )

    def alike(self, examples: list[Example]) -> list[Prompt]:
        """The prompts of a batch, in every process either all with features, or all with media."""
        prompts = [example.prompt for example in examples]
        cached = [prompt.feature is not None for prompt in prompts]
        silent = [not (prompt.place >= 0).any() for prompt in prompts]
        fresh = [not (known or empty) for known, empty in zip(cached, silent, strict=True)]
        some_fresh, some_cached = largest_of_all([any(fresh), any(cached)])
        if not some_cached:
            return prompts
        if some_fresh:
            pairs = zip(examples, cached, strict=True)
            return [self.prompt(e.clip) if known else e.prompt for e, known in pairs]
        nothing = np.zeros((0, self.spec.text.hidden_size), self.spec.dtype)
        return [
            prompt if known else dataclasses.replace(prompt, feature=nothing)
            for prompt, known in zip(prompts, cached, strict=True)
        ]

    def open_cache(self, policy: Omni) -> FeatureCache | None:
        """The cache of what the frozen towers of this policy make of files; None if unwanted.

        It is keyed by the weights of the towers and by all that prompts depend on.
        """
        data = self.config.data
        if not data.cache:
            return None
        towers = [policy.visual, policy.audio_tower]
        sums = fingerprint(towers)
        asked = {key: data[key] for key in PROMPT_KEYS}
        about = sums, asked, self.layout, self.tokenizer.chat_template, str(self.origin.root)
        return FeatureCache(data.cache, repr((about, self.spec.dtype)))

    def keep_features(
        self, cache: FeatureCache | None, examples, prompts: Prompts, features
    ) -> None:
        """Put into the cache what the towers made of a batch, f[b, rows, d]."""
        if cache is None or prompts.media.feature is not None:
            return
        feature_brd = to_host(features)
        for example, place_t, feature_rd in zip(
            examples, prompts.media.place, feature_brd, strict=False
        ):
            cache.save(example.clip, example.prompt, feature_rd[place_t[place_t >= 0]])

    def gold_branches(self, examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
        """The gold branches (slow, fast) i[b, g, s] and the mask bool[b, g, s] of what is learnt.

        A clip without a gold trace teaches its fast answer alone.
        """
        longest = max(max(len(example.slow), len(example.fast)) for example in examples) + 1
        (longest,) = largest_of_all([longest])
        s = min(size_class(longest), self.config.rollout.slow_tokens)
        token = np.full((len(examples), 2, s), self.end, np.int32)
        mask = np.zeros(token.shape, bool)
        openings = len(self.slow_opening), len(self.fast_opening)
        for i, example in enumerate(examples):
            token[i, :, 0] = example.prompt.start
            for g, said in enumerate((example.slow, example.fast)):
                token[i, g, 1 : 1 + len(said)] = said
                mask[i, g, 1 + openings[g] : 1 + len(said)] = True
            mask[i, 0] &= bool(example.clip.reasoning)
        return token, mask

    def batches(self, prompts_per_step: int, salt: int, prepare: Callable[[Clip], Example]):
        """An endless, resumable iterator of lists of this process's share of examples."""
        processes = jax.process_count()
        return training_batches(
            self.train_clips,
            prepare,
            self.damages,
            seed=self.config.seed * 2 + salt,
            size=prompts_per_step // processes,
            process=jax.process_index(),
            processes=processes,
        )


def read_clips(source: str) -> list[Clip]:
    """The clips of a manifest, or of a published set named KEY:FOLDER, e.g. ov_merd_plus:/data.

    The folder holds those of the sets, as for `python -m mer_jax.data.benchmarks --root FOLDER`.
    """
    key, _, root = source.partition(':')
    if key not in BENCHMARKS or not root:
        return read_manifest(source)
    found = BENCHMARKS[key].read(root)
    clips = [clip for clip in found.clips if clip.words]
    log.warning(
        '%s: %d clips with gold words; left out: %d without, %d labels without a media file, %d '
        'repeated',
        source,
        len(clips),
        len(found.clips) - len(clips),
        len(found.absent),
        len(found.repeated),
    )
    return clips


def open_checkpoint(checkpoint: str) -> tuple[Setting, Omni]:
    """A setting and a policy to ask, of a run's workdir, an export, or a Hugging Face folder.

    A prompt is read by all devices together. ValueError where the folder holds no checkpoint.
    """
    c = config_of(checkpoint)
    c.mesh = ConfigDict(dict(data=1, fsdp=1, tensor=-1))  # a single prompt cannot be split
    try:
        check_config(c)
    except ValueError as error:
        raise ValueError(f'{checkpoint}: its config cannot be used: {error}') from None
    return answering(c)


def answering(c, damages: Damages | None = None) -> tuple[Setting, Omni]:
    """A setting without clips and its policy, whose weights are kept as the activations are."""
    c.model.weights = c.model.dtype
    c.cold_start.steps = 0
    setting = Setting(c, damages=damages)
    with jax.set_mesh(setting.mesh):
        return setting, first_policy(setting.origin, c, setting.mesh)


def fingerprint(tree) -> str:
    """Eight hex digits that tell the weights of a tree apart."""
    sums = [int(weight_sum(leaf)) for leaf in jax.tree.leaves(tree)]
    return f'{zlib.crc32(repr(sums).encode()):08x}'


@jax.jit
def weight_sum(weight):
    """A number u32[] that tells weights apart: their bits, each times an odd number of its own."""
    wide = weight.astype(jnp.float32).ravel()
    bits = jax.lax.bitcast_convert_type(wide, jnp.uint32)
    return (bits * (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1)).sum(dtype=jnp.uint32)


def size_class(n: int) -> int:
    """The smallest of 0, 1, 2, 3, 4, 6, 8, 12, 16, … (2^k and 3 · 2^k) that is not below n."""
    if n < 3:
        return n
    power = 1 << (n - 1).bit_length()  # the power of two that is not below n
    return power * 3 // 4 if power * 3 // 4 >= n else power


def choose_clips(c):
    """Clips to train on and clips held out, of the stage or of a manifest."""
    if not c.data.manifest:
        return (
            StageClips(c.seed, 'train', c.data.clips),
            StageClips(c.seed, 'test', c.evaluate.clips),
        )
    try:
        clips = read_clips(c.data.manifest)
    except OSError as error:
        raise ValueError(
            f'data.manifest={c.data.manifest!r}: cannot be read ({error}); name a file of JSON '
            'lines, one clip a line, or KEY:FOLDER of a published set'
        ) from None
    train, test = hold_out(clips, c.data.held_out)
    if not train or not test:
        raise ValueError(
            f'data.held_out={c.data.held_out} splits the {len(train) + len(test)} clips of '
            f'{c.data.manifest} into {len(train)} to train on and {len(test)} to evaluate; '
            'both need at least one: change the share or add clips'
        )
    if c.cold_start.steps and not any(clip.reasoning for clip in train):
        raise ValueError(
            f'cold_start.steps={c.cold_start.steps}: imitation needs gold traces, and no clip of '
            f"{c.data.manifest} has 'reasoning'; add some, or set cold_start.steps=0 and start "
            'from model.checkpoint'
        )
    return train, test[: c.evaluate.clips]
