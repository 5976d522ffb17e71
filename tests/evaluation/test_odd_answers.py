"""Files of odd labels and answers: the right figures, and every cell without a word is said."""

import json

import pytest

from mer_jax.score import main

GOLD = {'a': 'sad', 'b': 'angry'}


@pytest.fixture
def scored(tmp_path, capsys):
    """Scores answers against labels, both by name, and gives the object that is printed."""

    def score(task, labels, answers, *flags, key='emo', said='answer'):
        paths = []
        for name, column, cells in (('labels', key, labels), ('answers', said, answers)):
            paths.append(tmp_path / f'{name}.jsonl')
            rows = [json.dumps({'name': item, column: cell}) for item, cell in cells.items()]
            paths[-1].write_text('\n'.join(rows))
        files = ['--labels', str(paths[0]), '--predictions', str(paths[1])]
        main(['--task', task, *files, *flags, '--json'])
        found = json.loads(capsys.readouterr().out)
        main(['--task', task, *files, *flags])
        return found | {'text': capsys.readouterr().out}

    return score


@pytest.mark.parametrize(
    'spelt',
    [
        'worried, {}</answer>',
        '<Answer>worried, {}</ answer>',
        '<think>happy, because</think>worried, {}',
        r'\boxed{{\text{{worried}}, \text{{{}}}}}',
        r'<answer>\boxed{{worried, {}}}</answer>',
        'worried, {}<|im_end|>',
        "['worried' '{}']",
        '{{"emotions": ["worried", "{}"]}}',
        'Answer: worried, {}',
        '- worried\n- {}',
        'worried and {}.',
    ],
)
def test_answers_in_any_spelling_score_as_plain_ones(scored, spelt):
    plain = scored('basic', GOLD, {name: f'worried, {word}' for name, word in GOLD.items()})
    odd = scored('basic', GOLD, {name: spelt.format(word) for name, word in GOLD.items()})
    assert plain['hit'] == 1 and odd.pop('text') == plain.pop('text')
    assert odd == plain


def test_the_words_of_the_reasoning_do_not_count(scored):
    thought = {name: f'<think>{word}, but</think>\nproud' for name, word in GOLD.items()}
    assert scored('basic', GOLD, thought)['hit'] == 0
    assert scored('accuracy', GOLD, {n: f'<think>happy</think>{w}' for n, w in GOLD.items()})[
        'accuracy'
    ]


def test_labels_that_say_none_are_no_class(scored):
    labels = {'a': 'sad', 'b': 'nan', 'c': 'None', 'd': 'N/A', 'e': None, 'f': '-', 'g': 'unknown'}
    for task in ('accuracy', 'multilabel'):
        found = scored(task, labels, dict.fromkeys(labels, 'sad'))
        assert found['kept'] == 1 and found['no_label'] == found['unlabelled'] == 6
        assert found.get('accuracy', 1) == found.get('exact', 1) == 1
        assert found['no_label_examples'] == {'b': 'nan', 'c': 'None', 'd': 'N/A'}
        assert '6 labels are empty or say that there is none: b: nan, c: None' in found['text']


def test_the_sentinel_of_a_sentiment_is_no_label(scored, tmp_path, capsys):
    answers = {'a': 'sad', 'b': 'happy', 'c': 'angry'}
    found = scored('sentiment', {'a': -10, 'b': 2, 'c': -10.0}, answers, key='val')
    assert (found['kept'], found['no_label'], found['accuracy']) == (1, 2, 1)
    assert '2 labels are empty or say that there is none: a: -10' in found['text']
    with pytest.raises(SystemExit) as refused:
        scored('sentiment', dict.fromkeys(answers, -10), answers, key='val')
    assert '3 say that there is no label (-10)' in str(refused.value)


def test_a_sentiment_column_of_any_spelling_is_read(scored):
    labels = {'a': 1, 'b': 1, 'c': 2, 'd': -1, 'e': -3}
    said = {'a': 'very positive', 'b': 'Positive sentiment', 'c': 1, 'd': '-1', 'e': 'negative.'}
    found = scored('sentiment', labels, said, key='val', said='sentiment')
    assert found['accuracy'] == 1 and found['unmapped'] == 0


def test_answers_without_a_word_are_counted_and_shown(scored):
    labels = dict.fromkeys('abcdef', 'sad') | {'g': 'angry'}
    answers = {'a': 'sad', 'b': '<think>sad, but', 'c': '12', 'd': '3/4', 'e': '99 %', 'f': ''}
    found = scored('accuracy', labels, answers | {'g': 'angry'})
    assert found['accuracy'] == 2 / 7 and found['unread'] == 4
    assert found['unread_examples'] == {'b': '<think>sad, but', 'c': '12', 'd': '3/4'}
    assert '4 answers hold no word and name nothing: b: <think>sad, but, c: 12' in found['text']


def test_gold_words_in_no_wheel_are_counted_and_shown(scored):
    labels = {'a': ['sad', 'zorp'], 'b': 'happy, zorp, blib'}
    found = scored('open', labels, {'a': 'sad', 'b': 'happy'}, key='openset')
    assert found['unknown_gold'] == 3
    assert found['unknown_gold_words'] == {'zorp': 2, 'blib': 1}
    assert '3 gold words are in no wheel: zorp 2, blib 1' in found['text']
    basic = scored('basic', {'a': 'sad', 'b': 'zorp'}, {'a': 'sad', 'b': 'sad'})
    assert basic['unknown_gold_words'] == {'zorp': 1} and basic['kept'] == 1


def test_labels_are_read_as_answers_are(scored):
    labels = {'a': 'ｓａｄ', 'b': 'Sad.', 'c': '["sad"]', 'd': 'SAD', 'e': 'self‑conscious'}
    answers = dict.fromkeys('abcd', 'sad') | {'e': 'self-conscious'}
    for task in ('accuracy', 'basic', 'multilabel'):
        found = scored(task, labels, answers)
        assert found['kept'] == 5 and 1 in (
            found.get('accuracy'),
            found.get('hit'),
            found.get('f1'),
        )
