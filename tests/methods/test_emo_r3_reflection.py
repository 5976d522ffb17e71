"""EMO-R3's reflection: scoring equals separate full prompts, samples are read as published."""

import functools
import types

import jax
import numpy as np
import pytest
import tiny
from tiny_rl import PROMPTS, SAMPLING, SEEING, B, G, rolled_out, seen_prompts

from mer_jax.group import Prompts
from mer_jax.methods.emo_r3_reading import Reading
from mer_jax.methods.emo_r3_reflection import (
    Chances,
    Said,
    answer_tokens,
    behind_picture,
    hear_chances,
    hear_said,
    look_by_sampling,
    look_by_scoring,
    story_reward,
    view_reward,
    within_set,
)
from mer_jax.models.omni import perceive, read_prompts
from mer_jax.rl.score import branch_hidden, distribution

END = SAMPLING.end
LABELS = np.array([[20, 21, -1], [20, 22, 23], [24, -1, -1], [20, -1, -1]])  # with END below
LABELS[3, 1] = LABELS[0, 2] = END
LABELS[2, 1] = END
YES_NO = {1: np.array([[30], [31]]), 2: np.array([[30, 31], [33, 32]])}  # by their length
T, SIZE = 12, 10  # room of the questions


@pytest.fixture(scope='module')
def policy():
    return tiny.policy(spec=SEEING)


@pytest.fixture(scope='module')
def prompts():
    """Prompts with pictures, every second one with a token of text behind its last picture."""
    seen = seen_prompts()
    place = seen.media.place.copy()
    place[::2, -1] = -1
    return seen.replace(media=seen.media.replace(place=place))


@pytest.fixture(scope='module')
def rollout(policy, prompts):
    return rolled_out(policy, prompts)


@pytest.fixture(scope='module')
def reading():
    """Questions of several lengths; two of the answers are asked nothing."""
    rng = np.random.default_rng(0)
    story_length, view_length = rng.integers(2, T + 1, (B, G)), rng.integers(1, SIZE + 1, (B, G))
    story_length[1, 2] = view_length[1, 2] = view_length[4, 0] = 0
    story, view = rng.integers(2, 60, (B, G, T)), rng.integers(2, 60, (B, G, SIZE))
    story[..., 0], view[..., 0] = 5, 6  # a chat begins alike, and so does what follows a picture
    zeros = np.zeros((B, G), np.float32)
    return Reading(
        right=zeros > 0,
        formed=zeros > 0,
        truth=rng.integers(0, 4, (B, G)),
        story=np.where(np.arange(T) < story_length[..., None], story, 0),
        story_length=story_length,
        view=np.where(np.arange(SIZE) < view_length[..., None], view, 0),
        view_length=view_length,
        too_long=zeros.astype(int),
        coherence=zeros,
        consistency=zeros,
    )


def keys_of(prompts, seed=0):
    key = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(len(prompts.start)))


@jax.jit
def next_logp(policy, prompts):
    """log π f[n, v] of the token after each prompt, at temperature 1."""
    keys = read_prompts(policy.decoder, prompts, perceive(policy, prompts.media))
    hidden = branch_hidden(policy, prompts, keys, prompts.start[:, None, None])
    sampling = types.SimpleNamespace(temperature=1.0, banned=SAMPLING.banned)
    return distribution(policy.decoder, hidden[:, 0, 0], sampling)


def full_prompts(prompts, rows):
    """A prompt for each (b, tokens): those of b as far as its last picture, then the tokens.

    b = −1 stands for no picture and no tokens before.
    """
    t = PROMPTS.token.shape[1] + T + SIZE + 4
    media = jax.tree.map(lambda x: np.asarray(x)[[max(b, 0) for b, _ in rows]], prompts.media)
    token, mask = np.zeros((len(rows), t), np.int32), np.zeros((len(rows), t), bool)
    position, place = np.zeros((len(rows), 3, t), np.int32), np.full((len(rows), t), -1)
    start, following = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
    for i, (b, said) in enumerate(rows):
        kept = np.zeros(prompts.mask.shape[1], bool)
        if b >= 0:
            kept[: np.flatnonzero(prompts.media.place[b] >= 0).max() + 1] = True
            kept &= prompts.mask[b]
        n = kept.sum()
        first = prompts.position[b][:, kept].max() + 1 if n else 0
        whole = n + len(said) - 1
        token[i, :whole] = [*prompts.token[b][kept], *said[:-1]]
        position[i, :, :n] = prompts.position[b][:, kept]
        position[i, :, n:whole] = first + np.arange(len(said) - 1)
        place[i, :n] = prompts.media.place[b][kept]
        mask[i, :whole] = True
        start[i], following[i] = said[-1], first + len(said) - 1
    return Prompts(token, mask, position, start, following, media.replace(place=place))


def after_full_prompts(policy, prompts, rows):
    """log π f[n, v] of the token after each full prompt, by one program for some at a time."""
    found, some = [], 32
    for first in range(0, len(rows), some):
        part = rows[first : first + some]
        filled = part + part[:1] * (some - len(part))
        found.append(np.asarray(next_logp(policy, full_prompts(prompts, filled)))[: len(part)])
    return np.concatenate(found)


def by_hand(policy, prompts, of, question_bgt, length_bg, answers):
    """The log-probability of each answer f[b, g, k], every token by a full prompt of its own."""
    rows, places = [], []
    for b, g in np.ndindex(B, G):
        for k, answer in enumerate(answers):
            ids = [token for token in answer.tolist() if token >= 0]
            for i in range(len(ids) if length_bg[b, g] else 0):
                said = [*question_bgt[b, g, : length_bg[b, g]].tolist(), *ids[:i]]
                rows.append((b if of == 'view' else -1, said))
                places.append((b, g, k, ids[i]))
    logp = after_full_prompts(policy, prompts, rows).astype(np.float64)
    found = np.zeros((B, G, len(answers)))
    for row, (b, g, k, token) in zip(logp, places, strict=True):
        found[b, g, k] += row[token]
    return found


@functools.cache
def scoring(tokens):
    """The reflection by scoring, compiled, with answers yes and no of so many tokens."""
    look = functools.partial(look_by_scoring, labels=LABELS, yes_no=YES_NO[tokens])
    return jax.jit(look, static_argnums=5)


def looked(policy, prompts, rollout, reading, tokens):
    return scoring(tokens)(policy, prompts, rollout, reading, keys_of(prompts), SAMPLING)


@pytest.mark.parametrize('tokens', [pytest.param(1, marks=pytest.mark.slow), 2])
def test_reflection_by_scoring_is_that_of_separate_full_prompts(
    policy, prompts, rollout, reading, tokens
):
    found = looked(policy, prompts, rollout, reading, tokens)
    asked = reading.story_length > 0
    label = by_hand(policy, prompts, 'story', reading.story, reading.story_length, LABELS)
    np.testing.assert_allclose(np.asarray(found.label)[asked], label[asked], atol=1e-5)
    asked = reading.view_length > 0
    yes_no = by_hand(policy, prompts, 'view', reading.view, reading.view_length, YES_NO[tokens])
    np.testing.assert_allclose(np.asarray(found.yes_no)[asked], yes_no[asked], atol=1e-5)
    assert np.ptp(yes_no[asked], 0).min() > 0.1  # the questions matter


def test_a_shared_picture_gives_what_a_copy_for_each_branch_gives(policy, prompts, reading):
    rows = np.repeat(np.arange(B), G)
    copies = jax.tree.map(lambda x: np.asarray(x)[rows], prompts)
    apart = jax.tree.map(lambda x: x.reshape(B * G, 1, *x.shape[2:]) if x.ndim > 1 else x, reading)
    numbers = np.arange(B * G)
    shared = looked(policy, prompts, rolled_out(policy, prompts), reading, 2)
    alone = looked(policy, copies, rolled_out(policy, copies, numbers=numbers), apart, 2)
    asked = reading.view_length > 0
    alone = np.asarray(alone.yes_no).reshape(B, G, 2)
    np.testing.assert_allclose(np.asarray(shared.yes_no)[asked], alone[asked], atol=1e-5)


def test_the_tokens_of_the_question_itself_are_not_seen(policy, prompts, rollout, reading):
    seen, whole = behind_picture(prompts), prompts.mask.sum(1)
    assert (np.asarray(seen.mask).sum(1) == whole - (np.arange(B) % 2 == 0)).all()
    for b in range(B):
        last = np.flatnonzero(prompts.media.place[b] >= 0).max()
        assert (np.asarray(seen.mask[b]) == (prompts.mask[b] & (np.arange(6) <= last))).all()


@functools.cache
def sampling(tokens, temperature, top_p):
    """The reflection by sampling, compiled."""
    known = dict(tokens=tokens, temperature=temperature, top_p=top_p)
    return jax.jit(functools.partial(look_by_sampling, **known), static_argnums=5)


def sampled(policy, prompts, rollout, reading, seed=0):
    given = policy, prompts, rollout, reading, keys_of(prompts, seed), SAMPLING
    return jax.device_get(sampling(5, 0.6, 0.95)(*given))


def test_reflection_by_sampling_repeats_with_its_key_and_differs_with_another(
    policy, prompts, rollout, reading
):
    said, again = (sampled(policy, prompts, rollout, reading) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, said, again)
    other = sampled(policy, prompts, rollout, reading, seed=1)
    assert (said.view != other.view).any() and (said.story != other.story).any()


def test_a_sampled_answer_follows_its_question(policy, prompts, rollout, reading):
    said = sampled(policy, prompts, rollout, reading)
    for token, mask, question, length in (
        (said.story, said.story_mask, reading.story, reading.story_length),
        (said.view, said.view_mask, reading.view, reading.view_length),
    ):
        for b, g in np.argwhere(length > 0):
            n = length[b, g]
            assert token[b, g, :n].tolist() == question[b, g, :n].tolist()
            assert mask[b, g].argmax() == n and not mask[b, g, :n].any()


def test_a_sampled_answer_has_its_most_tokens_however_long_other_questions_are(
    policy, prompts, rollout, reading
):
    said = sampled(policy, prompts, rollout, reading)
    for mask, length in (
        (said.story_mask, reading.story_length),
        (said.view_mask, reading.view_length),
    ):
        counts = mask.sum(-1)[length > 0]
        assert (
            counts.max() == 5
            and not (mask & (np.arange(mask.shape[2]) >= length[..., None] + 5)).any()
        )


def test_a_cold_sample_is_the_most_probable_answer_of_a_full_prompt(
    policy, prompts, rollout, reading
):
    look = sampling(1, 1e-4, 1.0)
    said = look(policy, prompts, rollout, reading, keys_of(prompts), SAMPLING)
    for of, token, question, length in (
        ('story', said.story, reading.story, reading.story_length),
        ('view', said.view, reading.view, reading.view_length),
    ):
        places = np.argwhere(length > 0)
        rows = [(b if of == 'view' else -1, question[b, g, : length[b, g]]) for b, g in places]
        logp = after_full_prompts(policy, prompts, rows)
        found = [int(token[b, g, length[b, g]]) for b, g in places]
        assert found == logp.argmax(-1).tolist()


def test_answers_that_begin_others_end_their_turn():
    spelt = {'joy': [5], 'joyful': [5, 6], 'fear': [7, 8]}
    ended = answer_tokens(('joy', 'joyful', 'fear'), spelt.get, END)
    assert ended.tolist() == [[5, END, -1], [5, 6, END], [7, 8, END]]
    assert answer_tokens(('joyful', 'fear'), spelt.get, END).tolist() == [[5, 6], [7, 8]]


def tiny_reading(truth, asked=(1, 1, 1)):
    length = np.array([asked])
    zeros = np.zeros((1, 3), np.float32)
    nothing = np.zeros((1, 3, 1), int)
    return Reading(
        zeros > 0,
        zeros > 0,
        np.array([truth]),
        nothing,
        length,
        nothing,
        length,
        zeros,
        zeros,
        zeros,
    )


@pytest.mark.parametrize(
    ('by_choice', 'coherence', 'consistency'),
    [(True, [1, 0, 0.5], [1, 0, 0]), (False, [0.5, 0.25, 0.5], [0.75, 0.25, 0])],
)
def test_the_reward_of_scoring_is_the_choice_or_the_probability(by_choice, coherence, consistency):
    chances = Chances(
        label=np.log([[[0.1, 0.05, 0.05], [0.2, 0.1, 0.1], [1, 1, 1]]]),
        yes_no=np.log([[[0.3, 0.1], [0.1, 0.3], [0.9, 0.1]]]),
    )
    reading = hear_chances(tiny_reading((0, 1, 0), asked=(1, 1, 0)), chances, by_choice, 0.5)
    np.testing.assert_allclose(reading.coherence, [coherence])
    np.testing.assert_allclose(reading.consistency, [consistency])
    np.testing.assert_allclose(reading.chance[0, 0], [0.5, 0.25, 0.25])


def test_an_own_word_that_is_no_label_earns_no_coherence():
    even = Chances(label=np.zeros((1, 3, 3)), yes_no=np.zeros((1, 3, 2)))
    reading = hear_chances(tiny_reading((-1, 0, -1)), even, False, 0.5)
    np.testing.assert_allclose(reading.coherence, [[0, 1 / 3, 0]])


def test_probabilities_of_a_closed_set_sum_to_one_however_small_they_are():
    np.testing.assert_allclose(within_set(np.array([[[-1000.0, -1000.0]]])), [[[0.5, 0.5]]])


@pytest.mark.parametrize(
    ('said', 'none', 'reward'),
    [
        ('awe', 0.5, 1), (' Awe\n', 0.5, 1), ('awe.', 0.5, 0), ('fear', 0.5, 0),
        ('none', 0.5, 0.5), ('None', 0.25, 0.25), ('', 0.5, 0.5),
        ('  ', 0.0, 0.0), ('none.', 0.5, 0),
    ],
)  # fmt: skip
def test_the_published_reading_of_the_text_question(said, none, reward):
    assert story_reward(said, 'awe', none) == reward


@pytest.mark.parametrize(
    ('said', 'reward'),
    [
        ('yes', 1), ('Yes, it can.', 1), ('no', 0), ('No.', 0), ('yes and no', 1), ('nothing', 0),
        ('maybe', 0.5), ('', 0.5), ('None', 0), ('eyes', 1),
    ],
)  # fmt: skip
def test_the_published_reading_of_the_picture_question(said, reward):
    assert view_reward(said, 0.5) == reward


def test_sampled_answers_become_rewards_and_missing_steps_those_of_a_failed_extraction():
    texts = types.SimpleNamespace(end=END, piece={1: b'a', 2: b'we', 3: b'yes', 9: b'x'})
    token = np.array([[[9, 1, 2, END], [9, 9, 3, END], [9, 1, 2, END]]])
    mask = np.array([[[0, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]], bool)
    said = Said(story=token, story_mask=mask, view=token, view_mask=mask)
    reading = tiny_reading((0, 0, 0), asked=(1, 1, 0))
    reading = hear_said(reading, said, texts, ('awe', 'fear'), 0.5)
    assert reading.coherence.tolist() == [[1, 0, 0.5]]
    assert reading.consistency.tolist() == [[0.5, 1, 0]]
