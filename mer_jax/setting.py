"""What a run stands on, built once from its config: sizes, words, prompts, mesh, batches."""

import dataclasses
import pathlib

import jax
import numpy as np

from mer_jax.data.clips import Clip, read_manifest
from mer_jax.data.loader import Damages, Example, StageClips, hold_out, training_batches
from mer_jax.data.media import MediaError
from mer_jax.data.prompts import (
    FAST_OPENING,
    SLOW_OPENING,
    Layout,
    batch_prompts,
    fast_text,
    slow_text,
    write_prompt,
)
from mer_jax.data.stage import stage_tokenizer
from mer_jax.data.stage_words import QUESTION
from mer_jax.data.wheel import load_wheels
from mer_jax.group import Prompts
from mer_jax.models.spec import AudioSpec, Spec, TextSpec, VisionSpec
from mer_jax.rl.branches import Sampling
from mer_jax.rl.reading import Reader
from mer_jax.sharding import make_mesh


@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples with their prompts as one struct, and their gold branches (slow, fast)."""

    examples: list[Example]
    prompts: Prompts
    token: np.ndarray  # i[b, g, s]
    mask: np.ndarray  # bool[b, g, s]


class Setting:
    """Everything of a run that no update changes."""

    def __init__(self, c, workdir: pathlib.Path):
        self.config = c
        self.mesh = make_mesh(c.mesh.data, c.mesh.fsdp, c.mesh.tensor)
        self.tokenizer = stage_tokenizer()
        # Whether control tokens are split is a state of a tokenizer that threads would share.
        self.plain_tokenizer = stage_tokenizer()
        self.spec = make_spec(c.model, len(self.tokenizer))
        self.layout = make_layout(self.spec, self.tokenizer)
        self.wheels = load_wheels(tuple(c.data.wheels))
        self.starts_wcn = self.wheels.first_tokens(self.encode)
        self.end = self.tokenizer.eos_token_id
        rollout = c.rollout
        self.reader = Reader(
            self.tokenizer, self.wheels, self.end, rollout.anchors, rollout.echo_tokens
        )
        self.slow_opening = self.encode(SLOW_OPENING)
        self.fast_opening = self.encode(FAST_OPENING)
        self.damages = Damages(workdir / 'bad_clips.jsonl', c.data.max_bad_clips)
        self.train_clips, self.test_clips = choose_clips(c)

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

    def example(self, clip: Clip) -> Example:
        """The clip as a prompt with its gold branches.

        Raises MediaError if its files cannot be read or it does not fit data.prompt_tokens or
        rollout.slow_tokens.
        """
        data = self.config.data
        prompt = write_prompt(
            clip,
            self.tokenizer,
            self.layout,
            QUESTION,
            fps=data.fps,
            pixels=(data.min_pixels, data.max_pixels),
            max_frames=data.max_frames,
        )
        length, limit = len(prompt.token), data.prompt_tokens
        if length > limit:
            raise MediaError(
                f'clip {clip.id}: its prompt has {length} tokens, data.prompt_tokens={limit} is '
                'the most; raise it or shorten the clip'
            )
        slow = self.gold_branch(clip, prompt.start, self.slow_opening, slow_text(clip))
        fast = self.gold_branch(clip, prompt.start, self.fast_opening, fast_text(clip))
        token, mask = np.stack([slow[0], fast[0]]), np.stack([slow[1], fast[1]])
        mask[0] &= bool(clip.reasoning)
        return Example(clip, prompt, token, mask)

    def gold_branch(self, clip, start, opening, text) -> tuple[np.ndarray, np.ndarray]:
        """Tokens i[s] of a gold branch and the mask bool[s] of those that are learnt."""
        said = self.encode(text) + [self.end]
        ids = [start, *opening, *said]
        size = self.config.rollout.slow_tokens
        if len(ids) > size:
            raise MediaError(
                f'clip {clip.id}: a gold branch has {len(ids)} tokens, rollout.slow_tokens={size} '
                'is the most; raise it or shorten the reasoning'
            )
        token, mask = np.full(size, self.end, np.int32), np.zeros(size, bool)
        token[: len(ids)] = ids
        mask[1 + len(opening) : len(ids)] = True
        return token, mask

    def collate(self, examples: list[Example]) -> Batch:
        """Examples as one batch of numpy arrays."""
        gold_bwc = self.wheels.cells([example.clip.words for example in examples])
        prompts = batch_prompts(
            [example.prompt for example in examples],
            self.config.data.prompt_tokens,
            gold_bwc,
            self.tokenizer.pad_token_id,
        )
        token = np.stack([example.token for example in examples])
        mask = np.stack([example.mask for example in examples])
        return Batch(examples, prompts, token, mask)

    def batches(self, prompts_per_step: int, salt: int):
        """An endless, resumable iterator of this process's share of training batches."""
        processes = jax.process_count()
        return training_batches(
            self.train_clips,
            self.example,
            self.collate,
            self.damages,
            seed=self.config.seed * 2 + salt,
            size=prompts_per_step // processes,
            process=jax.process_index(),
            processes=processes,
        )


def choose_clips(c):
    """Clips to train on and clips held out, of the stage or of a manifest."""
    if not c.data.manifest:
        return (
            StageClips(c.seed, 'train', c.data.clips),
            StageClips(c.seed, 'test', c.evaluate.clips),
        )
    train, test = hold_out(read_manifest(c.data.manifest), c.data.held_out)
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


def make_spec(model, tokens: int) -> Spec:
    """The spec of config.model; vocabulary rows are rounded up to a multiple of 64, to shard."""
    text = TextSpec(vocab_size=-(-tokens // 64) * 64, **model.text)
    width = text.hidden_size
    return Spec(
        text=text,
        vision=VisionSpec(out_hidden_size=width, **model.vision),
        audio=AudioSpec(output_dim=width, **model.audio) if model.family == 'omni' else None,
        family=model.family,
        dtype=model.dtype,
        remat=model.remat,
    )


def make_layout(spec: Spec, tokenizer) -> Layout:
    """The numbers of a spec and a tokenizer that prompts are written with."""
    vision, audio, token = spec.vision, spec.audio, tokenizer.convert_tokens_to_ids
    sound = (
        {
            'audio': token('<|AUDIO|>'),
            'audio_start': token('<|audio_bos|>'),
            'audio_end': token('<|audio_eos|>'),
            'chunk': 2 * audio.n_window,
            'bands': audio.num_mel_bins,
        }
        if audio
        else {}
    )
    return Layout(
        family=spec.family,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        temporal_patch=vision.temporal_patch_size,
        window=vision.window_size // vision.spatial_merge_size // vision.patch_size,
        image=token('<|IMAGE|>'),
        video=token('<|VIDEO|>'),
        vision_start=token('<|vision_bos|>'),
        vision_end=token('<|vision_eos|>'),
        **sound,
    )
