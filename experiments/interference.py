"""Interference of recall and precision along a run of MER-R1 or of its baseline: claim (e).

    python experiments/interference.py --run runs/claims/mer_r1/seed_0/full --prompts 64

A line of JSON for each policy that the run has saved (config.every.save, config.every.keep), and
for the one that it began with. Every policy answers the same held-out prompts. In the groups of
answers: the variance of the recall and of the precision reward, and the correlation of their sum
with each. Then the gradient of the policy in two parts, because the loss is linear in the
advantage: with the part of the advantage that recall brings, and with that of precision. `summed`
standardises recall + precision in the group, so both parts are divided by one deviation;
`separate` divides each by its own. `cosine` is that between the two gradients; `share` is that of
recall in the update: g·g_recall / g·g for g = g_recall + g_precision.
"""

import argparse
import dataclasses
import json
import logging
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from mer_jax.methods.mer_r1_rewards import reward_terms  # noqa: E402
from mer_jax.rl import step as rl  # noqa: E402
from mer_jax.rl.group_relative import standardise  # noqa: E402
from mer_jax.rl.objective import token_weights  # noqa: E402
from mer_jax.rl.optimizer import trained_part, with_part  # noqa: E402
from mer_jax.rl.pieces import count_pieces, in_pieces  # noqa: E402
from mer_jax.run.checkpoints import open_to_read, read_policy  # noqa: E402
from mer_jax.run.chosen_clips import choose_clips  # noqa: E402
from mer_jax.run.setting import Setting, make_learn, open_checkpoint  # noqa: E402
from mer_jax.sharding import to_devices, to_host  # noqa: E402

LEAST = 1e-5  # standard deviation in a group that is more than rounding
TINY = 1e-12  # beside sums of squares, so that nothing is divided by 0


def policies_of(last, run: pathlib.Path):
    """(update, policy) of all policies saved by a run, the first that of its cold start."""
    begun_with = json.loads((run / 'config.json').read_text())['model.checkpoint']
    folder = run / 'cold_start'
    if not folder.exists() and begun_with:
        other = pathlib.Path(begun_with)
        folder = other / 'train' if (other / 'train').exists() else other / 'cold_start'
    if folder.exists():
        manager = open_to_read(folder)
        yield 0, read_policy(manager, max(manager.all_steps()), last)
    manager = open_to_read(run / 'train')
    for update in sorted(manager.all_steps()) if (run / 'train').exists() else ():
        yield update, read_policy(manager, update, last)


def roll_out(setting: Setting, policy, prompts: int):
    """The prompts of the first held-out clips, their rollout, and its recall and precision."""
    c = setting.config
    clips = first_clips(c, prompts)
    batch = setting.batcher.collate([setting.writer.example(clip) for clip in clips])
    number_b = np.arange(len(clips), dtype=np.uint32)
    batch, number_b = to_devices(setting.mesh, (batch, number_b))
    sampling = setting.sampling(c.rollout.temperature, c.rollout.top_p)
    grow = rl.compiled_roll_out(sampling, setting.method.watch)
    opening = setting.openings(*['slow'] * c.rollout.group)
    rollout = grow(policy, batch, number_b, np.uint32(c.seed), np.uint32(0), opening)
    token, mask = to_host((rollout.branches.token, rollout.branches.mask))
    reading, _ = setting.method.read(setting.texts.read(token, mask), clips)
    terms = reward_terms(reading.named, reading.gold, reading.formed)
    return batch, rollout, terms['recall'], terms['precision']


def first_clips(c, count: int) -> list:
    """The first held-out clips."""
    test = choose_clips(c).test
    return [test[index] for index in range(min(count, len(test)))]


def parts_of_advantage(recall_bg, precision_bg) -> dict[str, tuple]:
    """The parts of the advantage that recall and precision bring, f[b, g] each, by its kind.

    Under `summed` they add up to the standardised sum; where that sum is the same for a whole group
    but for rounding, it teaches nothing.
    """
    deviation = (recall_bg + precision_bg).std(1, keepdims=True)
    scale = jnp.where(deviation > LEAST, 1 / (deviation + 1e-6), 0.0)
    alone = standardise(recall_bg, False), standardise(precision_bg, False)
    return {
        'summed': tuple(part * scale for part in alone),
        'separate': (standardise(recall_bg), standardise(precision_bg)),
    }


def group_figures(recall_bg, precision_bg) -> dict[str, float]:
    """Variances in groups, means over groups, and correlations in groups over all of them."""
    recall, precision = (
        np.asarray(x - x.mean(1, keepdims=True)) for x in (recall_bg, precision_bg)
    )
    total = recall + precision

    def correlation(a, b):
        return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + TINY))

    return {
        'recall': float(recall_bg.mean()),
        'precision': float(precision_bg.mean()),
        'recall_var': float((recall**2).mean()),
        'precision_var': float((precision**2).mean()),
        'correlation': correlation(recall, precision),
        'sum_with_recall': correlation(total, recall),
        'sum_with_precision': correlation(total, precision),
    }


def make_gradient(setting: Setting):
    """A function of (policy, experience): the gradient of the surrogate loss without KL."""
    c = setting.config
    learn = dataclasses.replace(make_learn(c.learn), kl=0.0, ratio_cap=0.0, clip='ppo')
    sampling = setting.sampling(c.rollout.temperature, c.rollout.top_p)

    def gradient(policy, experience):
        weight, total = token_weights(
            experience.mask, experience.kept, learn.aggregate, sampling.tokens
        )

        def loss_of(trained, piece):
            changed = with_part(policy, learn.train, trained)
            loss, *_ = rl.token_sums(changed, *piece, learn=learn, sampling=sampling)
            return loss / total, {}

        count = count_pieces(experience.token.shape[0], learn.microbatch)
        pieces = in_pieces((experience, weight), count)
        return rl.summed_gradient(loss_of, trained_part(policy, learn.train), pieces, count)[0]

    return jax.jit(gradient), learn


def gradient_figures(recall, precision) -> dict[str, float]:
    """Norms of the gradients of recall and of precision, their cosine, recall's share."""
    rr, pp, rp = (
        float(dot(a, b)) for a, b in ((recall,) * 2, (precision,) * 2, (recall, precision))
    )
    return {
        'recall_norm': rr**0.5,
        'precision_norm': pp**0.5,
        'cosine': rp / (rr * pp + TINY**2) ** 0.5,
        'share': (rr + rp) / (rr + pp + 2 * rp + TINY**2),
    }


@jax.jit
def dot(one, other):
    """The inner product of two trees."""
    products = jax.tree.map(lambda a, b: (a.astype(jnp.float32) * b).sum(), one, other)
    return sum(jax.tree.leaves(products))


def measure(setting: Setting, policy, prompts: int, gradient, learn) -> dict:
    """The figures of a policy; its answers are sampled as training samples them."""
    batch, rollout, recall, precision = roll_out(setting, policy, prompts)
    found = {'prompts': recall.shape[0], 'group': recall.shape[1]} | group_figures(
        recall, precision
    )
    kept = jnp.ones(recall.shape, bool)
    for kind, parts in parts_of_advantage(recall, precision).items():
        gradients = [
            gradient(policy, rl.gather_experience(batch, rollout, part, kept, None, None, learn))
            for part in parts
        ]
        found[kind] = gradient_figures(*gradients)
    return found


def main(arguments: list[str]) -> None:
    """Prints a line for each policy of each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--run', type=pathlib.Path, nargs='+', required=True, help='workdirs')
    parser.add_argument('--prompts', type=int, default=64)
    asked = parser.parse_args(arguments)
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells that it only reads
    for run in asked.run:
        for line in lines_of(run, asked.prompts):
            print(json.dumps(rounded(line)), flush=True)


def lines_of(run: pathlib.Path, prompts: int):
    """The figures of each policy of a run, with its arm (the folder's name), seed and update."""
    setting, last = open_checkpoint(str(run))
    seed = json.loads((run / 'config.json').read_text())['seed']
    with setting.in_use():
        gradient, learn = make_gradient(setting)
        for update, policy in policies_of(last, run):
            found = measure(setting, policy, prompts, gradient, learn)
            yield {'arm': run.name, 'seed': seed, 'update': update} | found


def rounded(value):
    """The same with numbers of five digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f'{value:.5g}') if isinstance(value, float) else value


if __name__ == '__main__':
    main(sys.argv[1:])
