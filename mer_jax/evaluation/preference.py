r"""Which of two descriptions fits a clip: the one with the higher log-probability of the policy.

    python -m mer_jax.evaluation.preference --checkpoint DIR --pairs track3_emoprefer.csv \
        --root mer2026-dataset --out preferences.jsonl

Pairs are rows with name, a1, a2 and, at will, preference, which is then scored. A description is
the answer to --question; its log-probability is a mean over its tokens, so length does not decide.
--minus-prior subtracts the same without film and sound: what the description owes to the clip.
The same command with the same --out resumes. The file serves --track mer2026-prefer of
evaluation.submissions.
"""

import argparse
import dataclasses
import functools
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from mer_jax.data.clips import Clip
from mer_jax.data.collate import size_class
from mer_jax.data.media.container import MediaError
from mer_jax.data.prepare.media_index import MediaIndex
from mer_jax.errors import printable, quiet_pipes
from mer_jax.evaluation.label_files import read_rows
from mer_jax.evaluation.metrics import groups, intervals, sentiment_figures
from mer_jax.models.omni import Omni
from mer_jax.rl.score import Sampling
from mer_jax.rl.step import branch_logp
from mer_jax.run.setting import Setting, open_checkpoint
from mer_jax.sharding import to_devices, to_host
from mer_jax.storage.objects import append, contents
from mer_jax.storage.paths import StorageError

QUESTION = "Describe the person's emotional state in this clip, and the cues for it."
CHOICES = ('a1', 'a2')
NEEDED = ('name', *CHOICES)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A clip and two descriptions of it, of which people prefer one, if it is known."""

    number: int  # of its row; names repeat
    clip: Clip
    texts: tuple[str, str]
    preferred: str = ''  # a1, a2 or another word for neither


def read_pairs(path: pathlib.Path, root: pathlib.Path) -> Iterator[Pair]:
    """The pairs of a table, with films and sounds below a root by name."""
    index = MediaIndex(root)
    for number, (place, row) in enumerate(read_rows(path)):
        where = f'{path}:{place}'
        if absent := [key for key in NEEDED if not str(row.get(key) or '').strip()]:
            raise ValueError(
                f'{where}: {absent[0]} is missing or empty; a pair has the columns '
                f'{", ".join(NEEDED)} and, at will, preference'
            )
        name = str(row['name']).strip()
        try:
            media = {kind: index.find(name, (kind,)) for kind in ('video', 'audio')}
        except ValueError as error:
            raise ValueError(f'{where}: name={error}') from None
        if not any(media.values()):
            raise ValueError(f'{where}: name={name!r:.99}: no film or sound of it below {root}')
        subtitle = str(row.get('subtitle') or '').strip()
        texts = tuple(' '.join(str(row[key]).split()) for key in CHOICES)
        clip = Clip(id=name, subtitle=subtitle, question=QUESTION, **media)
        yield Pair(number, clip, texts, str(row.get('preference') or '').strip().lower())


@functools.cache
def compiled_logp(sampling: Sampling, chunk: int):
    """`branch_logp` of prompts whose media are perceived, compiled once for each size."""

    def logp(policy, prompts, token_bgs):
        return branch_logp(policy, prompts, None, token_bgs, None, sampling, chunk)

    return jax.jit(logp)


def mean_logp(setting: Setting, policy: Omni, clip: Clip, texts: Sequence[str]) -> list[float]:
    """The mean log-probability of the tokens of each text, and of the end, as an answer to a clip.

    MediaError if the clip cannot be used.
    """
    ids = [(*setting.encode(text), setting.end) for text in texts]
    example = setting.writer.bare_example(clip)
    longest = size_class(max(map(len, ids)) + 1)
    token_bgs = np.full((1, len(ids), longest), setting.end, np.int32)
    mask_gs = np.zeros((len(ids), longest), bool)
    token_bgs[:, :, 0] = example.prompt.start
    for g, own in enumerate(ids):
        token_bgs[0, g, 1 : 1 + len(own)] = own
        mask_gs[g, 1 : 1 + len(own)] = True
    program = compiled_logp(setting.sampling(1.0, 1.0), setting.config.learn.chunk)
    with setting.in_use():
        arrays = to_devices(setting.mesh, (setting.batcher.collate([example]), token_bgs))
        logp_gs = np.asarray(to_host(program(policy, *arrays)))[0]
    return (np.where(mask_gs, logp_gs, 0.0).sum(-1) / mask_gs.sum(-1)).tolist()


def without_media(clip: Clip) -> Clip:
    """The clip as text alone."""
    return dataclasses.replace(
        clip, video=None, audio=None, image=None, subtitle=clip.subtitle or '.'
    )


Scorer = Callable[[Clip, Sequence[str]], list[float]]


def prefer(pair: Pair, scorer: Scorer, minus_prior: bool) -> dict[str, Any]:
    """The row of a pair: the scores of both descriptions, and the preferred one."""
    scores = scorer(pair.clip, pair.texts)
    if minus_prior:
        prior = scorer(without_media(pair.clip), pair.texts)
        scores = [score - before for score, before in zip(scores, prior, strict=True)]
    chosen = CHOICES[int(scores[1] > scores[0])]
    row = {'row': pair.number, 'name': pair.clip.id, 'preference': chosen, 'scores': scores}
    return row | ({'gold': pair.preferred} if pair.preferred else {})


def prefer_all(
    pairs: Sequence[Pair], scorer: Scorer, path: pathlib.Path, minus_prior: bool
) -> list[dict[str, Any]]:
    """The rows of all pairs, written one by one; those of an existing file are kept.

    A clip that cannot be used gets no preference, and its error.
    """
    kept = whole_rows(path, pairs)
    path.write_text(''.join(json.dumps(row) + '\n' for row in kept), encoding='utf-8')
    rest = pairs[len(kept) :]
    for pair in tqdm.tqdm(rest, initial=len(kept), total=len(pairs), unit='pair', disable=None):
        try:
            row = prefer(pair, scorer, minus_prior)
        except MediaError as error:
            row = {'row': pair.number, 'name': pair.clip.id, 'preference': '', 'error': str(error)}
        append(path, json.dumps(row) + '\n')
        kept.append(row)
    return kept


def whole_rows(path: pathlib.Path, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """The rows that an earlier start has written, up to a damaged line; ValueError for others."""
    kept = []
    for line, pair in zip(contents(path).splitlines(), pairs, strict=False):
        try:
            row = json.loads(line)
        except ValueError:
            break
        if (row.get('row'), row.get('name')) != (pair.number, pair.clip.id):
            raise ValueError(
                f'--out={path}: row {len(kept)} is of {row.get("name")!r:.99}, the pairs have '
                f'{pair.clip.id!r:.99}: it is of other pairs, name another file'
            )
        kept.append(row)
    return kept


def scored(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """waf and accuracy over the pairs whose gold preference is a1 or a2, with intervals; or {}."""
    usable = [row for row in rows if row.get('gold') in CHOICES and row['preference']]
    if not usable:
        return {}
    group_n = groups(len(usable))
    sums_mcc = np.zeros((group_n.max() + 1, 2, 2))
    for group, row in zip(group_n, usable, strict=True):
        sums_mcc[group, CHOICES.index(row['gold']), CHOICES.index(row['preference'])] += 1
    figures = {name: float(value) for name, value in sentiment_figures(sums_mcc.sum(0)).items()}
    return {'n': len(usable)} | figures | {'ci': intervals(sums_mcc, sentiment_figures)}


def read_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if they cannot be used."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.evaluation.preference',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--checkpoint', required=True, help='a run, an export, or a checkpoint')
    parser.add_argument('--adapter', default='', help='a LoRA adapter of it, as peft saves one')
    parser.add_argument('--pairs', required=True, type=pathlib.Path, help='name, a1, a2')
    parser.add_argument('--root', required=True, type=pathlib.Path, help='holds films and sounds')
    parser.add_argument('--out', required=True, type=pathlib.Path, help='.jsonl')
    parser.add_argument('--question', default=QUESTION, help='that a description answers')
    parser.add_argument('--minus-prior', action='store_true', help='less the score without media')
    asked = parser.parse_args(arguments)
    if not asked.root.is_dir():
        parser.error(f'--root={asked.root}: there is no such folder')
    if asked.out.suffix != '.jsonl' or not asked.out.parent.is_dir():
        parser.error(f'--out={asked.out}: must end in .jsonl, in a folder that exists')
    return asked


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells what it was asked for
    asked = read_flags(arguments)
    try:
        pairs = [
            dataclasses.replace(pair, clip=dataclasses.replace(pair.clip, question=asked.question))
            for pair in read_pairs(asked.pairs, asked.root)
        ]
        setting, policy = open_checkpoint(asked.checkpoint, asked.adapter)
        scorer = functools.partial(mean_logp, setting, policy)
        rows = prefer_all(pairs, scorer, asked.out, asked.minus_prior)
    except (ValueError, OSError, StorageError) as error:
        raise SystemExit(f'mer_jax: {printable(str(error))}') from None
    failed = sum('error' in row for row in rows)
    print(f'{asked.out} holds {len(rows)} pairs; {failed} of them could not be read')
    for name, value in (found := scored(rows)).items():
        if name in found.get('ci', {}):
            low, high = (100 * end for end in found['ci'][name])
            print(f'{name} {100 * value:.2f}   {low:.2f} to {high:.2f}   of {found["n"]} pairs')
    raise SystemExit(int(failed > 0))


if __name__ == '__main__':
    with quiet_pipes():
        main()
