"""EMO-R3's reflection: the policy is asked about its own steps, once as text, once by the picture.

By scoring, the closed set of answers is scored in one forward; by sampling, an answer is drawn and
parsed. Both ask the current policy, and the question about the picture shares the keys of the
picture with the branches of its group.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mer_jax.data.texts import TextReader
from mer_jax.group import Array, Media, Prompts, Rollout
from mer_jax.methods.emo_r3_reading import Reading
from mer_jax.models.omni import Omni, read_prompts
from mer_jax.rl.grow import grow
from mer_jax.rl.score import Sampling, branch_hidden, distribution_before, score

YES, NO = 'yes', 'no'
REFLECTION = 2**31 - 1  # folded into the random key of a prompt, apart from its rollout


@struct.dataclass
class Chances:
    """Reflection by scoring: the log-probabilities of the answers of each closed set."""

    label: Array  # f[b, g, labels], of the question about the text
    yes_no: Array  # f[b, g, 2], of the question about the picture


@struct.dataclass
class Said:
    """Reflection by sampling: the sampled answers."""

    story: Array  # i[b, g, s], behind the question
    story_mask: Array  # bool[b, g, s], sampled tokens
    view: Array
    view_mask: Array


def answer_tokens(answers, encode, end: int) -> np.ndarray:
    """The tokens of a closed set of answers, i[answers, m], padded with −1.

    Where one answer is the beginning of another, the end of the turn belongs to each of them.
    """
    ids = [tuple(encode(answer)) for answer in answers]
    if any(one != other and other[: len(one)] == one for one in ids for other in ids):
        ids = [(*one, end) for one in ids]
    token = np.full((len(ids), max(map(len, ids))), -1, np.int32)
    for row, one in zip(token, ids, strict=True):
        row[: len(one)] = one
    return token


def look_by_scoring(
    policy: Omni,
    prompts: Prompts,
    rollout: Rollout,
    reading: Reading,
    key_b,
    sampling: Sampling,
    *,
    labels: np.ndarray,
    yes_no: np.ndarray,
) -> Chances:
    """The Chances of all answers; labels and yes_no are those of `answer_tokens`."""
    asked = dataclasses.replace(sampling, temperature=1.0)
    return Chances(
        label=story_chances(policy, reading, labels, asked),
        yes_no=view_chances(policy, prompts, rollout, reading, yes_no, asked),
    )


def story_chances(policy: Omni, reading: Reading, answer_km, sampling: Sampling):
    """log-probabilities f[b, g, k] of the answers to the question about the text.

    Each question is read once as a prompt of its own, and its answers are branches over its keys.
    """
    b, g, t = reading.story.shape
    k, m = answer_km.shape
    length = jnp.maximum(jnp.asarray(reading.story_length).reshape(-1), 1)
    token = jnp.asarray(reading.story).reshape(-1, t)
    slot = jnp.arange(t)
    texts = Prompts(
        token=token,
        mask=slot < (length - 1)[:, None],  # the last token begins the branches
        position=jnp.broadcast_to(slot, (b * g, 3, t)),
        start=jnp.take_along_axis(token, (length - 1)[:, None], 1)[:, 0],
        next_position=length - 1,
        media=no_media(b * g, t),
    )
    nothing = jnp.zeros((b * g, 0, policy.spec.text.hidden_size), policy.spec.dtype)
    keys = read_prompts(policy.decoder, texts, nothing, attention=policy.spec.attention)
    start = jnp.broadcast_to(texts.start[:, None, None], (b * g, k, 1))
    answer = jnp.broadcast_to(jnp.maximum(answer_km, 0), (b * g, k, m))
    logp = score(policy, texts, keys, jnp.concatenate([start, answer], -1), sampling)
    return jnp.where(answer_km >= 0, logp[..., 1:], 0.0).sum(-1).reshape(b, g, k)


def view_chances(policy, prompts, rollout: Rollout, reading: Reading, answer_km, sampling):
    """log-probabilities f[b, g, k] of the answers to the question about the picture."""
    b, g, s = reading.view.shape
    k, m = answer_km.shape
    copies = k if m > 1 else 1  # answers of one token need none of their own
    length = jnp.broadcast_to(reading.view_length[:, :, None], (b, g, copies))
    token = jnp.broadcast_to(reading.view[:, :, None], (b, g, copies, s))
    token = jnp.pad(token, ((0, 0), (0, 0), (0, 0), (0, m - 1)))
    for i in range(m - 1):
        here = jnp.arange(s + m - 1) == (length + i)[..., None]
        token = jnp.where(here, jnp.maximum(answer_km[:, i], 0)[:, None], token)
    hidden = branch_hidden(
        policy, behind_picture(prompts), rollout.keys, token.reshape(b, g * copies, -1)
    )
    index = (length[..., None] + jnp.arange(m)).reshape(b, g * copies, m)
    logp = distribution_before(policy.decoder, hidden, index, sampling)
    logp = jnp.broadcast_to(logp.reshape(b, g, copies, m, -1), (b, g, k, m, logp.shape[-1]))
    chosen = jnp.broadcast_to(jnp.maximum(answer_km, 0), (b, g, k, m))
    logp = jnp.take_along_axis(logp, chosen[..., None], -1)[..., 0]
    return jnp.where(answer_km >= 0, logp, 0.0).sum(-1)


def look_by_sampling(
    policy: Omni,
    prompts: Prompts,
    rollout: Rollout,
    reading: Reading,
    key_b,
    sampling: Sampling,
    *,
    tokens: int,
    temperature: float,
    top_p: float,
) -> Said:
    """One sampled answer of at most `tokens` tokens to each question."""
    asked = dataclasses.replace(sampling, temperature=temperature, top_p=top_p)
    key_b = jax.vmap(lambda key: jax.random.fold_in(key, REFLECTION))(key_b)
    alone = prompts.replace(
        mask=jnp.zeros_like(prompts.mask), next_position=jnp.zeros_like(prompts.next_position)
    )
    story, story_mask = answers_to(
        policy, alone, rollout, reading.story, reading.story_length, key_b, asked, tokens
    )
    key_b = jax.vmap(lambda key: jax.random.fold_in(key, REFLECTION))(key_b)
    view, view_mask = answers_to(
        policy,
        behind_picture(prompts),
        rollout,
        reading.view,
        reading.view_length,
        key_b,
        asked,
        tokens,
    )
    return Said(story=story, story_mask=story_mask, view=view, view_mask=view_mask)


def answers_to(policy, prompts, rollout, question_bgs, length_bg, key_b, sampling, tokens: int):
    """Sampled tokens i[b, g, s] and their mask behind questions of different lengths.

    A question is the forced opening of its branch. At most `tokens` tokens behind it are in the
    mask, so an answer does not depend on the longest question of the batch.
    """
    s = question_bgs.shape[2]
    forced = jnp.where(jnp.arange(s) < length_bg[..., None], question_bgs, -1)
    sampling = dataclasses.replace(sampling, tokens=s + tokens)
    asked = prompts.replace(media=None, start=jnp.maximum(forced[:, :, 0].max(1), 0))
    grown = grow(
        policy.decoder, asked, rollout.keys, key_b, forced[:, :, 1:], sampling, nothing_seen
    )
    answered = jnp.arange(s + tokens) < length_bg[..., None] + tokens
    return grown.token, grown.mask & answered


def nothing_seen(_):
    """Records nothing of the distributions of a branch."""
    return ()


def behind_picture(prompts: Prompts) -> Prompts:
    """The prompts as far as their last picture: a branch over them begins right behind it."""
    shown = (prompts.media.place >= 0) & prompts.mask
    slots = jnp.arange(shown.shape[1])
    last = jnp.where(shown, slots, -1).max(1, keepdims=True)
    mask = prompts.mask & (slots <= last)
    position = jnp.where(mask[:, None], prompts.position, -1).max((1, 2))
    return prompts.replace(mask=mask, next_position=position + 1)


def no_media(b: int, t: int) -> Media:
    """The media of prompts that have none."""
    return Media(
        patch=jnp.zeros((b, 0, 0, 0)),
        patch_mask=jnp.zeros((b, 0, 0), bool),
        patch_row_col=jnp.zeros((b, 0, 0, 2), jnp.int32),
        sound=jnp.zeros((b, 0, 0, 0)),
        sound_length=jnp.zeros((b, 0), jnp.int32),
        sound_pair=jnp.zeros((b, 0, 2), jnp.int32),
        place=jnp.full((b, t), -1),
    )


def hear_chances(reading: Reading, chances: Chances, by_choice: bool, none: float) -> Reading:
    """The reading with the rewards of reflection by scoring.

    They are the probability of the true label, and of yes, within their closed sets; `by_choice`
    makes them 1 where it is the most probable answer, else 0.
    """
    label, yes = within_set(chances.label), within_set(chances.yes_no)[..., 0]
    true = np.maximum(reading.truth, 0)[..., None]
    coherence = np.take_along_axis(label, true, -1)[..., 0]
    if by_choice:
        coherence = (label.argmax(-1) == true[..., 0]).astype(np.float32)
        yes = (yes > 0.5).astype(np.float32)
    coherence = np.where(reading.truth >= 0, coherence, 0.0)
    return with_rewards(reading.replace(chance=label), coherence, yes, none)


def within_set(logp_bgk) -> np.ndarray:
    """Probabilities that are 1 in sum over a closed set, f[b, g, k]."""
    logp_bgk = np.asarray(logp_bgk, np.float64)
    chance = np.exp(logp_bgk - logp_bgk.max(-1, keepdims=True))
    return (chance / chance.sum(-1, keepdims=True)).astype(np.float32)


def hear_said(reading: Reading, said: Said, texts: TextReader, labels, none: float) -> Reading:
    """The reading with the rewards of reflection by sampling, parsed as the published code does."""
    story, view = (
        spoken(texts, said.story, said.story_mask),
        spoken(texts, said.view, said.view_mask),
    )
    coherence = [
        [
            story_reward(text, labels[i] if i >= 0 else '', none)
            for text, i in zip(*row, strict=True)
        ]
        for row in zip(story, reading.truth.tolist(), strict=True)
    ]
    consistency = [[view_reward(text, none) for text in row] for row in view]
    return with_rewards(reading, np.array(coherence), np.array(consistency), none)


def spoken(texts: TextReader, token_bgs, mask_bgs) -> list[list[str]]:
    """The sampled part of each branch as text, [b][g]."""
    return [
        [sampled_text(texts, token_s, mask_s) for token_s, mask_s in zip(*row, strict=True)]
        for row in zip(np.asarray(token_bgs), np.asarray(mask_bgs), strict=True)
    ]


def sampled_text(texts: TextReader, token_s, mask_s) -> str:
    """The sampled part of a branch as text."""
    ids = [token for token in token_s[mask_s].tolist() if token != texts.end]
    return b''.join(texts.piece[token] for token in ids).decode(errors='replace')


def story_reward(said: str, truth: str, none: float) -> float:
    """1 where the word said is the true one, `none` where none is named, else 0."""
    said = said.strip().lower()
    return none if said in ('', 'none') else float(said == truth)


def view_reward(said: str, none: float) -> float:
    """1 for an answer that holds yes, 0 for one that holds no, `none` for any other."""
    said = said.lower()
    return 1.0 if YES in said else 0.0 if NO in said else none


def with_rewards(reading: Reading, coherence, consistency, none: float) -> Reading:
    """The reading with both rewards; a question that was not asked gives `none` and 0."""
    return reading.replace(
        coherence=np.where(reading.story_length > 0, coherence, none).astype(np.float32),
        consistency=np.where(reading.view_length > 0, consistency, 0.0).astype(np.float32),
    )
