"""Clips to examples: prompts as config.data asks for them, and gold branches to imitate."""

import copy
import dataclasses

from mer_jax.data.cache import FeatureCache
from mer_jax.data.clips import Clip
from mer_jax.data.loader import Example
from mer_jax.data.media.container import MediaError
from mer_jax.data.prompts import Prompt, write_prompt
from mer_jax.methods.method import Method

PROMPT_KEYS = (  # of config.data: everything that a prompt depends on besides its clip
    'system',
    'subtitle',
    'question',
    'audio_in_video',
    'sound_start',
    'fps',
    'max_frames',
    'min_pixels',
    'max_pixels',
)


def question_of(data, method: Method) -> str:
    """config.data.question with the labels of the method in place of {labels}."""
    return data.question.replace('{labels}', ', '.join(method.labels))


class Encoder:
    """Token ids of plain text; nothing in it becomes a control token.

    Whether control tokens are split is a state of a tokenizer that threads would share, so this one
    has a tokenizer of its own. It asks the library below `transformers`, which is ten times faster
    for a word.
    """

    def __init__(self, tokenizer):
        self.tokenizer = copy.deepcopy(tokenizer.backend_tokenizer)
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def __call__(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


class ExampleWriter:
    """Writes examples of clips for one tokenizer, one layout of prompts and one method.

    In config.data.question, {labels} is replaced by the labels of the method.
    """

    def __init__(self, c, tokenizer, layout, method: Method, encode: Encoder, end: int):
        self.data, self.tokenizer, self.layout = c.data, tokenizer, layout
        self.method, self.encode, self.end = method, encode, end
        self.most = c.rollout.slow_tokens  # tokens of a branch
        self.question = question_of(c.data, method)

    def prompt(self, clip: Clip) -> Prompt:
        """The clip as a prompt; MediaError if its media cannot be used or it is too long."""
        data = self.data
        if clip.subtitle:
            quoted = data.subtitle.replace('{}', clip.subtitle)
            clip = dataclasses.replace(clip, subtitle=quoted)
        prompt = write_prompt(
            clip,
            self.tokenizer,
            self.layout,
            clip.question or self.question,
            system=data.system,
            fps=data.fps,
            pixels=(data.min_pixels, data.max_pixels),
            max_frames=data.max_frames,
            audio_in_video=data.audio_in_video,
            sound_start=data.sound_start,
        )
        return self.fitting(prompt)

    def fitting(self, prompt: Prompt) -> Prompt:
        """The prompt, if it is not too long; else MediaError."""
        length, limit = len(prompt.token), max(self.data.prompt_tokens)
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
        """The clip as a prompt, with features of the cache if it has them.

        Raises MediaError if its files cannot be read, it does not fit data.prompt_tokens, or the
        method cannot judge answers to it.
        """
        if reason := self.method.unusable(clip):
            raise MediaError(f'clip {clip.id}: {reason}')
        return self.bare_example(clip, cache)

    def bare_example(self, clip: Clip, cache: FeatureCache | None = None) -> Example:
        """`example` of a clip whose answers need not be judged."""
        kept = cache.load(clip) if cache else None
        return Example(clip, self.fitting(kept) if kept else self.prompt(clip))

    def gold_example(self, clip: Clip, cache: FeatureCache | None = None) -> Example:
        """The clip as a prompt with its gold branches, one a mode; () for a mode without one.

        Raises MediaError as `example` does, and if a branch does not fit rollout.slow_tokens.
        """
        gold = tuple(self.gold_branch(clip, mode) for mode in self.method.openings)
        return dataclasses.replace(self.example(clip, cache), gold=gold)

    def gold_branch(self, clip: Clip, mode: str) -> tuple[int, ...]:
        """The tokens of a gold branch after the prompt's last token, its opening first."""
        text = self.method.gold(clip, mode)
        if text is None:
            return ()
        ids = *self.encode(self.method.openings[mode]), *self.encode(text), self.end
        if len(ids) >= self.most:
            raise MediaError(
                f'clip {clip.id}: a gold branch has {len(ids) + 1} tokens, rollout.slow_tokens='
                f'{self.most} is the most; raise it or shorten the reasoning'
            )
        return ids

    def filler(self) -> Example:
        """An example that fills a batch; the answer to it is thrown away."""
        clip = Clip(id='', subtitle='.', words=('neutral',))
        return Example(clip, self.prompt(clip))
