"""The estimate of requests, tokens and cost of a judge."""

from mer_jax.evaluation.endpoint import Endpoint
from mer_jax.evaluation.judge import RULES, Question, text_about
from mer_jax.evaluation.judge_cost import Estimate, estimate, in_words

JUDGE = Endpoint('https://host/v1', 'referee', '')
FAST = Question('a', 'fast', 'What?', ('sad',), ('The answer is: sad',), None)
SLOW = Question('a', 'slow', 'What?', ('sad',), ('I see.', 'The answer is: sad'), 'a.mp4')


def test_an_estimate_counts_texts_pictures_and_steps():
    texts = [len((RULES + text_about(question)).encode()) // 4 for question in (FAST, SLOW)]
    assert estimate([FAST]) == Estimate(1, 10 + texts[0], 10 + 8)
    # The film is not opened: ten pictures of 512 x 512 / 28² = 334 tokens are the most.
    assert estimate([FAST, SLOW]) == Estimate(2, 20 + sum(texts) + 3340, 20 + 8 * 3)
    assert estimate([]) == Estimate(0, 0, 0)


def test_a_cost_is_tokens_times_prices_for_a_million():
    asked = Estimate(1000, 4_000_000, 30_000)
    assert in_words(JUDGE, asked, 0, 2.5, 10.0) == (
        'judge referee at host: 1000 requests, about 4000000 tokens to read and 30000 to write, '
        'about 10.30 at judge.price_read and judge.price_written'
    )
    said = in_words(JUDGE, asked, 12, 0.0, 0.0)
    assert '(12 verdicts are kept and not asked for again)' in said and 'would add the' in said
