"""The page and the table of a run."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mer_jax.run.report import hardware, terminal_table, write_report

VOID = {'meta', 'img', 'br'}


def figures(recall, precision, f, se=0.03):
    errors = {'recall_se': se, 'precision_se': se, 'f_se': se}
    return dict(recall=recall, precision=precision, f=f, form=0.975, tokens=38.25, **errors)


def change(f):
    def one(difference):
        ci = [difference - 0.02, difference + 0.03]
        return {'difference': difference, 'ci': ci, 'se': 0.0125}

    return {'recall': one(0.12), 'precision': one(-0.01), 'f': one(f)}


def results():
    return {
        'clips': 256,
        'seed': 7,
        'cold_start': {'fast': figures(0.61, 0.52, 0.561), 'slow': figures(0.48, 0.64, 0.549)},
        'end': {'fast': figures(0.63, 0.55, 0.587), 'slow': figures(0.6, 0.65, 0.624, se=0.04)},
        'gain': {'slow': change(0.075), 'fast': change(0.026), 'clips': 250},
        'seconds': {'cold_start': 61.25, 'train': 180.0, 'evaluate': 20.0},
    }


def records(steps=30):
    cold = [{'stage': 'cold_start', 'step': k, 'loss': 5 / k} for k in range(1, steps + 1)]
    names = ('loss', 'recall', 'kl', 'clipped', 'recall_std', 'calibration_recall_std')
    train = [{'stage': 'train', 'step': k} | dict.fromkeys(names, 1 / k) for k in range(1, steps)]
    return cold + train


def said(text, think, *words, formed=True, **scores):
    return {'text': text, 'think': think, 'words': list(words), 'formed': formed} | scores


def example(**changed):
    answers = {
        'fast': said('<think></think><answer>sad, happy</answer>', '', 'sad', 'happy'),
        'slow': said('<think>a low …', 'a low voice', 'sad', 'lonely'),
    }
    frames = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    plain = {'id': 'test/1', 'frames': frames, 'subtitle': 'I am fine.', 'gold': ['sad', 'upset']}
    return plain | {'before': answers, 'after': answers} | changed


class Page(HTMLParser):
    """Checks that tags are balanced; collects text and (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ''
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('style', 'text'):
            self.text += data

    def having(self, kind):
        return [a for _, a in self.tags if kind in (a.get('class') or '').split()]


@pytest.fixture
def page(tmp_path):
    def write(results=None, records=(), examples=(), title='Run', config=None, commit=None):
        path = tmp_path / 'deep' / 'report.html'
        write_report(
            path,
            results or {},
            list(records),
            list(examples),
            title,
            config or {},
            commit,
            plotted=('recall', 'precision'),
        )
        return path.read_text(encoding='utf-8')

    return write


def test_the_table_in_the_terminal_is_aligned_and_ends_with_the_gain():
    lines = terminal_table(results()).splitlines()
    assert lines[1].split()[:6] == ['fast', 'before', 'RL', '0.610', '±', '0.030']
    assert lines[4].split()[-5:] == ['0.624', '±', '0.040', '0.975', '38.2']
    assert len({line.index('±') for line in lines[1:5]}) == 1
    assert len({line.index('0.975') for line in lines[1:5]}) == 1
    # 0.075 / 0.0125
    assert lines[5] == (
        'Slow F: 0.549 before RL, 0.624 after: +0.075, 95 % interval [+0.055, +0.105], '
        'paired over 250 clips (6.0 standard errors)'
    )


def test_a_loss_is_told_with_its_sign():
    worse = results() | {'gain': {'slow': change(-0.025), 'fast': change(0.0), 'clips': 9}}
    assert terminal_table(worse).endswith(
        'after: -0.025, 95 % interval [-0.045, +0.005], paired over 9 clips (-2.0 standard errors)'
    )


def test_without_spread_or_pairs_or_a_start_the_table_claims_no_significance():
    same = {'difference': 0.25, 'ci': [0.25, 0.25], 'se': 0.0}
    sure = results() | {'gain': {'slow': change(0) | {'f': same}, 'clips': 9}}
    assert terminal_table(sure).endswith('[+0.250, +0.250], paired over 9 clips')
    exact = {'cold_start': {'slow': figures(1, 1, 0.25, 0)}, 'end': {'slow': figures(1, 1, 0.5, 0)}}
    assert terminal_table(exact).endswith('after: +0.250')
    only_end = {'end': {'fast': figures(0.5, 0.5, 0.5)}}
    assert len(terminal_table(only_end).splitlines()) == 2


def test_the_page_shows_the_figures_their_errors_and_the_change(page):
    text = Page(page(results())).text
    for figure in ('0.610 ± 0.030', '0.624 ± 0.040', '0.975', '38.2', '+0.000', '+0.0'):
        assert figure in text
    for interval in ('+0.120[+0.100, +0.150]', '-0.010[-0.030, +0.020]', '+0.026[+0.006, +0.056]'):
        assert interval in text
    assert 'paired over 250 clips (6.0 standard errors)' in text and '256 clips' in text
    assert 'difference of the same 250 clips' in text and '95 % of its bootstrap' in text
    assert 'embedded stage' in text


def test_a_method_with_scores_of_its_own_has_its_table_and_no_plane(page):
    def moment(accuracy):
        figures = {'accuracy': accuracy, 'accuracy_se': 0.03, 'form': 1.0, 'tokens': 9.0}
        return {'fast': figures, 'slow': figures}

    paired = {'accuracy': {'difference': 0.25, 'ci': [0.2, 0.3], 'se': 0.025}}
    run = {'clips': 9, 'cold_start': moment(0.5), 'end': moment(0.75)}
    run['gain'] = {'slow': paired, 'fast': paired, 'clips': 9}
    lines = terminal_table(run).splitlines()
    assert lines[0].split() == ['accuracy', 'form', 'tokens']
    assert lines[-1] == (
        'Slow accuracy: 0.500 before RL, 0.750 after: +0.250, 95 % interval [+0.200, +0.300], '
        'paired over 9 clips (10.0 standard errors)'
    )
    text = Page(page(run)).text
    assert '+0.250[+0.200, +0.300]' in text and 'Fast against slow' not in text


def test_the_page_is_balanced_and_asks_nothing_of_the_network(page):
    text = page(results(), records(), [example()], commit='0abc')
    assert not re.search('https?://|url\\(\\s*[^#]|@import|<script|<link|<iframe', text)
    for _, attributes in Page(text).tags:
        for name in ('src', 'href', 'xlink:href'):
            assert (attributes.get(name) or '#').startswith(('#', 'data:image/png;base64,'))


def test_every_text_of_a_model_or_a_person_is_escaped(page):
    evil = '<script>alert("x")</script>&amp;'
    answers = {'fast': said(evil, '', evil), 'slow': said(evil, evil, evil)}
    clip = example(id=evil, subtitle=evil, gold=[evil], before=answers, after=answers)
    run = results() | {'hardware': evil, 'seconds': {evil: 1.0}, 'seed': evil}
    steps = [
        {'stage': stage, 'step': 1, evil: 1.0, f'{evil}_std': 1.0} for stage in (evil, 'train')
    ]
    text = page(
        run,
        steps,
        [clip, example(after={'fast': said('', ''), 'slow': said(evil, '', formed=False)})],
        evil,
        {evil: evil},
        evil,
    )
    parsed = Page(text)
    assert '<script' not in text and 'script' not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count(evil) >= 18


def test_each_figure_of_a_stage_has_its_curve_and_spreads_share_one(page):
    text = page({}, records())
    captions = re.findall('<figcaption><b>(.*?)</b>', text)
    assert captions == ['loss', 'loss', 'recall', 'kl', 'clipped']
    assert re.findall('class="key"[^>]*>(.*?)<', text) == ['recall', 'calibration_recall']
    assert text.count('<svg') == 6


def test_a_figure_that_only_some_steps_have_is_drawn_from_those(page):
    steps = records() + [{'stage': 'train', 'step': 40, 'loss': 0.5, 'late': 0.125}]
    assert '<b>late</b><span>0.125 → 0.125</span>' in page({}, steps)


def test_a_long_curve_stays_small(page):
    assert len(page({}, records(20_000))) < 400_000


def test_pictures_take_their_colours_from_the_page(page):
    text = page(results(), records())
    assert 'stroke: var(--slow)' in text and 'prefers-color-scheme: dark' in text
    pictures = re.findall('<svg.*?</svg>', text, re.DOTALL)
    assert pictures and not re.search('#[0-9a-f]{6}', ''.join(pictures))


def test_words_are_hits_if_gold_or_named_as_hits(page):
    plain = Page(page({}, [], [example()]))
    assert (len(plain.having('hit')), len(plain.having('miss'))) == (4, 4)
    told = Page(page({}, [], [example(hit=['Sad', 'lonely'])]))
    assert (len(told.having('hit')), len(told.having('miss'))) == (6, 2)


def test_a_slow_text_without_its_tags_is_shown_as_it_is(page):
    broken = {'fast': said('', ''), 'slow': said('<think>went on and on', '', formed=False)}
    text = Page(page({}, [], [example(before=broken, after=broken)])).text
    assert text.count('<think>went on and on') == 2 and text.count('names nothing') == 4


def test_the_scores_of_a_reflection_are_shown_with_the_answer(page):
    slow = said('…', 'a beaming face', 'joy', coherence=1.0, consistency=0.25)
    answers = {'fast': said('', ''), 'slow': slow}
    text = Page(page({}, [], [example(before=answers, after=answers)])).text
    assert text.count('coherence 1.00, consistency 0.25') == 2


def test_a_score_that_fast_answers_lack_has_an_empty_cell(page):
    result = results()
    for moment in ('cold_start', 'end'):
        result[moment]['slow'] |= {'coherence': 0.5, 'coherence_se': 0.01}
    table = terminal_table(result).splitlines()
    assert 'coherence' in table[0] and '0.500 ± 0.010' in table[3] and '0.500' not in table[1]
    assert Page(page(result)).text.count('0.500 ± 0.010') == 2


def test_frames_are_embedded_side_by_side(page):
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    images = [
        a['src'] for tag, a in Page(page({}, [], [example(frames=frames)])).tags if tag == 'img'
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(images[0].split(',')[1])))
    np.testing.assert_array_equal(np.asarray(picture), np.concatenate(list(frames), 1))


def test_long_clips_show_six_frames_of_bounded_height(page):
    frames = np.zeros((40, 288, 288, 3), np.uint8)
    (image,) = [a for tag, a in Page(page({}, [], [example(frames=frames)])).tags if tag == 'img']
    picture = Image.open(io.BytesIO(base64.b64decode(image['src'].split(',')[1])))
    assert picture.size == (6 * 144, 144) and image['alt'] == '6 frames'


@pytest.mark.parametrize(
    'left_out, heading',
    [
        ('records', 'Learning curves'),
        ('records', 'Spread of the reward'),
        ('examples', 'Clips'),
        ('results', 'Fast against slow'),
    ],
)
def test_what_the_run_did_not_make_has_no_section(page, left_out, heading):
    steps = [{'stage': 'train', 'step': 1, 'loss': 1.0, 'recall_std': 0.5}]
    made = {'results': results(), 'records': steps, 'examples': [example()]}
    assert heading in Page(page(**made)).text
    del made[left_out]
    assert heading not in Page(page(**made)).text


def test_a_run_without_a_start_or_without_pictures_has_its_page(page):
    only_end = {'clips': 3, 'seed': 0, 'end': {'slow': figures(0.0, 0.0, 0.0, se=0.0)}}
    text = Page(page(only_end, [], [example(frames=None)])).text
    assert 'after RL' in text and 'change' not in text.split('Means')[0]


def test_the_page_tells_configuration_hardware_seed_and_seconds(page):
    parsed = Page(page(results(), config={'learn': {'kl': 0.04}}, commit='0abc123'))
    for fact in ('"kl": 0.04', '0abc123', hardware(), '61.2 s', 'cold start'):
        assert fact in parsed.text
    assert 'TPU v9' in Page(page(results() | {'hardware': 'TPU v9'})).text


def test_the_same_run_gives_the_same_page(page):
    assert page(results(), records(), [example()]) == page(results(), records(), [example()])
