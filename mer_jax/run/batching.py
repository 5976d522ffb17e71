"""Examples to arrays of few different shapes, the same in every process."""

import dataclasses

import numpy as np

from mer_jax.data.collate import batch_prompts, size_class
from mer_jax.data.loader import Example
from mer_jax.data.prompts import Prompt
from mer_jax.group import Prompts
from mer_jax.models.spec import Spec
from mer_jax.run.examples import ExampleWriter
from mer_jax.sharding import largest_of_all


class Batcher:
    """Makes batches of the examples of one writer.

    Shapes come in few sizes (size_class, and data.prompt_tokens for the prompt), so that a run
    compiles a handful of programs. Media are padded to the sizes in `least` too, so that clips
    without sound or film can share the program of those that have both.
    """

    def __init__(self, writer: ExampleWriter, spec: Spec):
        self.writer, self.spec = writer, spec
        self.least = (0, 0, 0)  # frames, patches and chunks of sound of every batch, at least

    def collate(self, examples: list[Example]) -> Prompts:
        """The prompts of examples as numpy arrays."""
        writer, prompts = self.writer, self.alike(examples)
        sizes = [(len(p.token), *p.patch_mask.shape, len(p.sound)) for p in prompts]
        sizes.append((0, *self.least))
        tokens, frames, patches, chunks = largest_of_all(np.max(sizes, 0))
        window = (writer.layout.window * writer.layout.merge) ** 2
        chunks = size_class(chunks)
        return batch_prompts(
            prompts,
            min(size for size in writer.data.prompt_tokens if size >= tokens),
            writer.tokenizer.pad_token_id,
            frames=size_class(frames),
            patches=size_class(patches // window) * window,
            chunks=chunks,
            audio_tokens=-(-chunks * writer.layout.chunk // 4),
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
            return [self.writer.prompt(e.clip) if known else e.prompt for e, known in pairs]
        nothing = np.zeros((0, self.spec.text.hidden_size), self.spec.dtype)
        return [
            prompt if known else dataclasses.replace(prompt, feature=nothing)
            for prompt, known in zip(prompts, cached, strict=True)
        ]

    def gold_branches(self, examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
        """The gold branches i[b, g, s], one a mode, and the mask bool[b, g, s] of learnt tokens.

        A clip without a gold branch of a mode teaches the others alone.
        """
        writer = self.writer
        longest = max(len(ids) for example in examples for ids in example.gold) + 1
        (longest,) = largest_of_all([longest])
        s = min(size_class(longest), writer.most)
        openings = [len(writer.encode(text)) for text in writer.method.openings.values()]
        token = np.full((len(examples), len(openings), s), writer.end, np.int32)
        mask = np.zeros(token.shape, bool)
        for i, example in enumerate(examples):
            token[i, :, 0] = example.prompt.start
            for g, ids in enumerate(example.gold):
                token[i, g, 1 : 1 + len(ids)] = ids
                mask[i, g, 1 + openings[g] : 1 + len(ids)] = True
        return token, mask
