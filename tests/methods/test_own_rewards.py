"""Reward functions of the user's own: their arguments, their results, and each refusal."""

import functools

import numpy as np
import pytest

from mer_jax.data.clips import Clip
from mer_jax.methods.own_rewards import RewardError, check_functions, own_terms, title

CLIPS = [Clip('c7', words=('sad',)), Clip('c8', words=('happy', 'calm'))]
TEXTS = [['sad', 'so sad', ''], ['happy', 'calm', 'sad']]
TERMS = ('recall', 'precision', 'f', 'form')
FIGURES = ('loss', 'kl')


def length(texts, clips):
    return {'length': [[len(text) for text in row] for row in texts]}


def said(texts, clips):
    """Two rewards: how many gold words a text names, and whether it is empty."""
    named = [
        [sum(word in text for word in clip.words) for text in row]
        for row, clip in zip(texts, clips, strict=True)
    ]
    return {
        'named': np.array(named),
        'empty': np.array([[text == '' for text in r] for r in texts]),
    }


def constant(value, name='constant'):
    """A function that returns this value under this name for all texts."""

    def returned(texts, clips):
        return {name: value}

    return returned


def refusal(functions, names, texts=TEXTS, clips=CLIPS):
    """The message with which rewards are refused."""
    with pytest.raises(RewardError) as raised:
        own_terms(functions, names, texts, clips)
    return str(raised.value)


def test_terms_are_numbers_of_each_branch_in_the_order_of_the_weights():
    found = own_terms((length, said), ['empty', 'length', 'named'], TEXTS, CLIPS)
    assert list(found) == ['empty', 'length', 'named']
    np.testing.assert_array_equal(found['length'], [[3, 6, 0], [5, 4, 3]])
    np.testing.assert_array_equal(found['named'], [[1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(found['empty'], [[0, 0, 1], [0, 0, 0]])
    assert all(x.dtype == np.float32 for x in found.values())


def test_without_functions_there_are_no_terms():
    assert own_terms((), (), TEXTS, CLIPS) == {}


def test_a_function_cannot_change_the_arguments_of_the_next_one():
    def spoil(texts, clips):
        texts[0][0] = 'spoilt'
        texts.pop()
        clips.clear()
        return {'spoilt': np.zeros((2, 3))}

    found = own_terms((spoil, length), ['spoilt', 'length'], TEXTS, CLIPS)
    np.testing.assert_array_equal(found['length'], [[3, 6, 0], [5, 4, 3]])


@pytest.mark.parametrize(
    ('value', 'shape'),
    [
        ([1.0, 2.0, 3.0], '[3]'),
        (np.zeros((3, 2)), '[3, 2]'),
        (np.zeros((2, 3, 1)), '[2, 3, 1]'),
        (0.5, '[]'),
    ],
)
def test_a_reward_of_another_shape_is_refused_with_both_shapes(value, shape):
    told = refusal((constant(value),), ['constant'])
    assert told.startswith('test_own_rewards.py:constant.<locals>.returned: ')
    assert f"reward 'constant' has shape {shape}; it must be [b, g] = [2, 3]" in told


@pytest.mark.parametrize('value', [[[1, 2, 3], [1, 2]], [['a'] * 3] * 2, [[None, {}, 1]] * 2])
def test_a_reward_that_is_no_numbers_is_refused(value):
    told = refusal((constant(value),), ['constant'])
    assert "its reward 'constant' is not numeric" in told and '[b, g] = [2, 3]' in told


@pytest.mark.parametrize(('value', 'shown'), [(np.nan, 'nan'), (np.inf, 'inf'), (-np.inf, '-inf')])
def test_a_reward_that_is_not_finite_is_refused_with_its_clip_branch_and_text(value, shown):
    numbers = np.zeros((2, 3))
    numbers[1, 2] = value
    told = refusal((length, constant(numbers)), ['length', 'constant'])
    assert told.startswith('test_own_rewards.py:constant')
    assert f"its reward 'constant' is {shown} for clip c8, branch 2" in told
    assert "it must be finite. The text: 'sad'" in told


def test_a_function_that_raises_is_named_with_the_clip_that_makes_it_raise():
    def fragile(texts, clips):
        pairs = zip(texts, clips, strict=True)
        return {'fragile': [[1 / (clip.id != 'c8')] * len(row) for row, clip in pairs]}

    with pytest.raises(RewardError) as raised:
        own_terms((length, fragile), ['length', 'fragile'], TEXTS, CLIPS)
    told = str(raised.value)
    assert 'test_own_rewards.py:' in told and 'fragile: raised ZeroDivisionError' in told
    assert '(clip c8)' in told and 'an empty one too' in told
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_function_that_raises_on_all_clips_together_says_so():
    def crowded(texts, clips):
        return {'crowded': np.zeros((1, len(texts[0]))) if len(clips) == 1 else 1 / 0}

    assert '(clip not any one alone, but all together)' in refusal((crowded,), ['crowded'])


@pytest.mark.parametrize(
    ('value', 'kind'), [([[1.0] * 3] * 2, 'list'), (None, 'NoneType'), (iter(()), 'tuple_iterator')]
)
def test_a_function_that_returns_no_dictionary_of_names_is_refused(value, kind):
    def returned(texts, clips):
        return value

    told = refusal((returned,), ['x'])
    assert f'returned {kind}; it must return a dictionary {{name: numbers[b, g]}}' in told


def test_a_key_that_is_no_name_is_refused():
    told = refusal((lambda texts, clips: {3: np.zeros((2, 3))},), ['x'])
    assert 'returned a dictionary with the key 3; its keys must be strings' in told


@pytest.mark.parametrize('value', [1e13, -1e13, 1e300])
def test_a_reward_whose_square_would_overflow_is_refused(value):
    numbers = np.zeros((2, 3))
    numbers[0, 1] = value
    told = refusal((constant(numbers),), ['constant'])
    assert f"its reward 'constant' reaches {abs(value):g}; it must be between -1e+12 and" in told
    numbers[0, 1] = 1e12
    found = own_terms((constant(numbers),), ['constant'], TEXTS, CLIPS)['constant']
    assert np.isfinite(np.square(found)).all() and found.dtype == np.float32


def test_a_reward_without_a_weight_is_refused_with_the_line_that_gives_it_one():
    told = refusal((length, said), ['length', 'named'])
    assert told.startswith('learn.weights.empty: is missing')
    assert 'test_own_rewards.py:length, test_own_rewards.py:said' in told
    assert 'c.learn.weights.empty = 1.0' in told


def test_a_weight_without_a_reward_is_refused_with_the_rewards_there_are():
    told = refusal((length,), ['length', 'lenght'])
    assert told.startswith('learn.weights.lenght: no reward of this name')
    assert 'return length.' in told
    told = refusal((), ['length'])
    assert 'the reward functions (none) return nothing' in told


def test_two_functions_cannot_return_the_same_name():
    told = refusal((length, constant(np.zeros((2, 3)), 'length')), ['length'])
    assert "its reward 'length' is also returned by test_own_rewards.py:length" in told
    assert told.startswith('test_own_rewards.py:constant')


def check(functions, names):
    """The message with which functions are refused before training, or None."""
    try:
        check_functions(functions, names, TERMS, FIGURES, CLIPS[0])
    except RewardError as error:
        return str(error)


def test_functions_are_tried_on_two_empty_answers_to_one_clip():
    seen = []

    def watching(texts, clips):
        seen.append((texts, clips))
        return length(texts, clips)

    assert check((watching,), ['length']) is None
    assert seen == [([['', '']], [CLIPS[0]])]
    assert 'raised IndexError' in check((lambda texts, clips: {'x': texts[0][0][0]},), ['x'])


@pytest.mark.parametrize('name', TERMS)
def test_the_name_of_a_term_of_the_method_is_refused(name):
    # Such a name has a weight, which is the method's, so that it is no name of the user's.
    told = check((constant([[0.0, 1.0]], name),), [])
    assert told.startswith(f"learn.rewards: the reward '{name}' has the name of a term")
    assert '(recall, precision, f, form); give it another' in told


@pytest.mark.parametrize('name', FIGURES)
def test_the_name_of_another_figure_of_a_step_is_refused(name):
    told = check((constant([[0.0, 1.0]], name),), [name])
    assert told.startswith(f"learn.rewards: the reward '{name}' has the name of a figure")
    assert '(loss, kl); give it another' in told


def test_a_reward_that_is_no_function_is_refused():
    told = check(('length',), ['length'])
    assert told == "learn.rewards: 'length' is no function; name functions of (texts, clips)"


def test_rewards_and_weights_must_agree_before_training_too():
    assert check((length,), []).startswith('learn.weights.length: is missing')
    assert check((), ['length']).startswith('learn.weights.length: no reward of this name')


class Brevity:
    """A reward that is an object."""

    def __call__(self, texts, clips):
        return {'brevity': [[-len(text) for text in row] for row in texts]}


def test_a_title_names_function_and_file_and_no_path_or_address():
    assert title(length) == 'test_own_rewards.py:length'
    assert title('length') == 'length'
    partial = title(functools.partial(constant, 1.0))
    assert partial == 'partial of test_own_rewards.py:constant'
    assert title(len) == 'an object of type builtin_function_or_method'
    assert title(Brevity()) == 'an object of type Brevity'
