"""Random generators of the embedded stage, one for each clip."""

import numpy as np

SPLITS = ('train', 'validation', 'test')
DOMAINS = ('films', 'home', 'away')  # films, and the two kinds of pictures


def generator(seed: int, split: str, index: int, domain: str = 'films') -> np.random.Generator:
    """The random generator of one clip; no two clips share their numbers."""
    for name, value, known in (('split', split, SPLITS), ('domain', domain, DOMAINS)):
        if value not in known:
            raise ValueError(f'{name}={value!r} must be one of {", ".join(known)}')
    for name, value in (('seed', seed), ('index', index)):
        # Above 32 bits the SeedSequences of two triples could be equal.
        if not 0 <= value < 2**32:
            raise ValueError(f'{name}={value} must lie between 0 and 2**32 - 1')
    # A SeedSequence is padded with zeros, so the entry 0 of films is the same as no entry.
    entropy = (seed, SPLITS.index(split), index, DOMAINS.index(domain))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
