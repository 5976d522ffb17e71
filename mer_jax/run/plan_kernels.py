"""The FLOPs of Splash, whose products a compiled program does not show."""

import math
import re

from mer_jax.run.hlo import Instruction

NAME = re.compile(r'splash_mha_(fwd|dq|dkv)_')
PRODUCTS = {'fwd': 2, 'dq': 3, 'dkv': 4}  # of each pair of slots


def kernel_flops(kernel: Instruction, operands: list[Instruction]) -> int:
    """The FLOPs of a kernel; 0 for one that is not Splash."""
    named = NAME.match(kernel.name)
    if not named:
        return 0
    from mer_jax.models.attention_splash import PAIRS  # with Pallas, which a run may not need

    pairs = re.search(rf'{PAIRS}(\d+)', kernel.text)
    if not pairs:
        return 0
    *rows, _, h = operands[3].shapes[0].dims  # the queries, behind three tables of blocks
    return PRODUCTS[named[1]] * 2 * math.prod(rows) * int(pairs[1]) * h
