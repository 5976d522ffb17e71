"""A tiny workload of the timings in experiments/."""

import numpy as np
import tiny

from experiments import workloads


def text_prompts(b, t, vocabulary):
    """Prompts of random text."""
    token_bt = np.random.default_rng(0).integers(1, vocabulary, (b, t + 1))
    return workloads.text_prompts(token_bt.astype(np.int32))


def work_of(spec=tiny.SPEC, b=2, t=5, g=3, s=4):
    """A workload of text prompts."""
    prompts = text_prompts(b, t, spec.text.vocab_size)
    return workloads.random_workload(spec, prompts, g, s - 1, echo=3, anchors=2)
