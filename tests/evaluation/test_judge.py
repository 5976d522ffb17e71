"""The judge of reasoning, against a fake endpoint on this machine."""

import base64
import dataclasses
import io
import json
import runpy
import threading
import time

import av
import numpy as np
import pytest
from fake_endpoint import KEY, fake_endpoints
from PIL import Image
from programs import ROOT

from mer_jax.data.clips import Clip
from mer_jax.evaluation import benchmark, judge
from mer_jax.evaluation.answers import MODES
from mer_jax.evaluation.endpoint import Endpoint, ask

SLOW = '<score>Step 1: 1/1, Step 2: 0/1, Step 3: 1/2</score>'  # recognition 1/2, reasoning 1/2
FAST = '<score>Step 1: 1/1</score>'


@pytest.fixture
def opened(monkeypatch):
    with fake_endpoints(monkeypatch) as open_endpoint:
        yield open_endpoint


def verdict(chat):
    """SLOW for three steps, FAST for one."""
    return SLOW if 'Step 3:' in chat['messages'][1]['content'][0]['text'] else FAST


def predictions(count):
    """Lines of fast and slow answers: one step, and three."""
    thinks = {'fast': '', 'slow': 'Her voice is low. She looks down.'}
    return [
        {'id': f'clip {i}', 'mode': mode, 'think': thinks[mode], 'answer': 'sad, lonely'}
        for i in range(count)
        for mode in MODES
    ]


def questions(count):
    """The questions about the first clips of `predictions`."""
    clips = [Clip(f'clip {i}') for i in range(count)]
    gold = {clip.id: ['sad', 'hurt'] for clip in clips}
    return judge.questions_of(predictions(count), clips, gold, 'What does she feel?')


@pytest.fixture
def asked(omni_folder, tmp_path):
    """An evaluation of two sets of MME-Emotion whose clips have been answered."""
    c = runpy.run_path(str(ROOT / 'configs' / 'eval_mer_unibench.py'))['get_config']()
    c.model.checkpoint, c.data.root = str(omni_folder), str(tmp_path)
    c.benchmarks, c.clips = ('mme_sa', 'mme_ml_er'), 3
    c.mesh.data, c.mesh.tensor = 1, -1
    c.judge.model, c.judge.key = 'referee', 'TEST_JUDGE_KEY'
    for key, task in (('mme_sa', 'SA'), ('mme_ml_er', 'ML-ER')):
        folder = tmp_path / 'MME-Emotion' / task
        rows = [{'video_id': f'{name}.mp4', 'label': 'positive'} for name in 'abcd']
        for row in rows:
            write_film(folder / row['video_id'], 1)
        (folder / 'question').mkdir()
        (folder / 'question' / f'{task.replace("-", "_")}.json').write_text(json.dumps(rows))
        lines = predictions(3)
        for line, name in zip(lines, 'aabbcc', strict=True):
            line |= {'id': f'{task}/{name}.mp4', 'words': ['positive'], 'answer': 'positive'}
        path = tmp_path / 'out' / 'predictions' / f'{key}.jsonl'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return c


def contents(workdir):
    """The bytes of all files of a folder."""
    return {path: path.read_bytes() for path in workdir.rglob('*') if path.is_file()}


def test_sentences_are_steps_and_the_answer_is_the_last():
    think = '1. He is 3.5 m away. "Why?" she asks! He: "So." \n\n- Tears,\n他哭了。她走了。'
    assert judge.steps_of(think, 'sad') == (
        '1. He is 3.5 m away.', '"Why?" she asks!', 'He: "So."', '- Tears,', '他哭了。', '她走了。',
        'The answer is: sad',
    )  # fmt: skip
    assert judge.steps_of('', '') == ('The answer is: none',)


@pytest.mark.parametrize(
    ('said', 'count', 'scores'),
    [
        (SLOW, 3, [1, 0, 0.5]),
        ('I see.\n<SCORE>\nstep 1 : 2 / 3.\n</SCORE> Done.', 1, [2 / 3]),
        (f'Such as {FAST}? No: <score>Step 1: 0/1</score>', 1, [0]),
        (SLOW, 2, None),  # a step too many
        (SLOW, 4, None),  # a step too few
        ('<score>Step 2: 1/1, Step 1: 1/1</score>', 2, None),
        ('<score>Step 1: 2/1</score>', 1, None),
        ('<score>Step 1: 0/0</score>', 1, None),
        ('<score>Step 1: 1/1000</score>', 1, None),
        ('<score>Step 1: 1/1.5</score>', 1, None),
        ('<score>Step 1: 0.5/1</score>', 1, None),
        ('Step 1: 1/1</score>', 1, None),
        ('<score>Step 1: 1/1', 1, None),
        ('', 1, None),
    ],
)
def test_a_verdict_is_a_fraction_for_each_step_between_the_last_tags(said, count, scores):
    assert judge.read_verdict(said, count) == scores


@pytest.mark.timeout(120)  # in quadratic time it takes hours
def test_a_hostile_reply_of_a_mebibyte_is_read_in_linear_time():
    said = '<score>step 1:' * 75_000 + '</score>'
    assert judge.read_verdict(said, 1) is None
    assert judge.read_verdict('</score>' * 130_000 + 'step 1: 1/1', 1) is None


def test_scores_equal_those_by_hand(opened):
    fake = opened(lambda chat: 'no idea' if 'Odd?' in str(chat) else verdict(chat))
    asked = questions(4)
    asked[5] = dataclasses.replace(asked[5], asked='Odd?')
    asked[7] = dataclasses.replace(asked[7], steps=asked[6].steps)
    lines = [judge.judged_line(fake.endpoint, question) for question in asked]
    scored = judge.judged_scores(fake.endpoint, lines)
    fast, slow, difference = scored['fast'], scored['slow'], scored['difference']
    assert (scored['judge'], scored['host']) == ('referee', '127.0.0.1')
    assert [fast[key] for key in ('n', 'kept', 'skipped')] == [4, 4, 0]
    assert [fast[name] for name in judge.JUDGED] == [1, 0, 0.5]
    # Two answers of three steps, (1/2, 1/2), and one of a single step, (1, 0).
    assert [slow[key] for key in ('n', 'kept', 'skipped')] == [4, 3, 1]
    assert [slow[name] for name in judge.JUDGED] == pytest.approx([2 / 3, 1 / 3, 1 / 2])
    assert difference['n'] == 3
    assert [difference[name] for name in judge.JUDGED] == pytest.approx([-1 / 3, 1 / 3, 0])
    assert fast['ci']['recognition'] == [1, 1] and slow['ci']['cot'] == [0.5, 0.5]
    assert slow['ci']['reasoning'] == pytest.approx([0, 0.5])
    assert difference['ci']['recognition'] == pytest.approx([-0.5, 0])


def test_the_judge_reads_question_labels_and_numbered_steps_at_temperature_0(opened):
    fake = opened(verdict)
    ask(fake.endpoint, judge.messages_about(questions(1)[1]))
    ((path, headers, chat),) = fake.seen
    assert path == '/v1/chat/completions' and headers['Authorization'] == f'Bearer {KEY}'
    assert (chat['model'], chat['temperature']) == ('referee', 0)
    assert fake.texts() == [
        'Question: What does she feel?\nRight labels (2): sad, hurt\nSteps to grade (3):\n'
        'Step 1: Her voice is low.\nStep 2: She looks down.\nStep 3: The answer is: sad, lonely'
    ]


def write_film(path, seconds):
    """Five grey frames a second, from black to white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('mpeg4', rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 32, 'yuv420p'
        for i in range(5 * seconds):
            picture = np.full((32, 64, 3), i * 255 // (5 * seconds), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        file.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize(('seconds', 'count'), [(3, 4), (6, 6), (20, 10)])
def test_a_judge_sees_a_frame_a_second_and_ten_of_a_longer_film(tmp_path, seconds, count):
    film = write_film(tmp_path / 'film.mp4', seconds)
    question = judge.Question('a', 'slow', '?', ('sad',), ('x',), film)
    _, *shown = judge.messages_about(question)[1]['content']
    urls = [part['image_url']['url'] for part in shown]
    assert all(url.startswith('data:image/jpeg;base64,') for url in urls) and len(urls) == count
    images = [Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))) for url in urls]
    grey = [np.asarray(image).mean() for image in images]
    assert grey == sorted(grey) and grey[0] < 20 and grey[-1] > 150


@pytest.mark.parametrize('cut', [0, 0.3, 0.5, 0.99, 1])
def test_a_file_of_verdicts_is_continued_and_ends_the_same(opened, tmp_path, cut):
    fake, path = opened(verdict), tmp_path / 'judged' / 'mme_sa.jsonl'
    lines = judge.judge_lines(fake.endpoint, questions(5), path)
    whole = path.read_bytes()
    assert [json.loads(line) for line in whole.splitlines()] == lines and len(fake.seen) == 10
    torn = whole[: int(cut * len(whole))]
    path.write_bytes(torn)
    assert judge.judge_lines(fake.endpoint, questions(5), path) == lines
    assert path.read_bytes() == whole
    assert len(fake.seen) == 20 - torn.count(b'\n')


def test_verdicts_on_other_steps_are_asked_for_again(opened, tmp_path):
    fake, path = opened(verdict), tmp_path / 'mme_sa.jsonl'
    judge.judge_lines(fake.endpoint, questions(2), path)
    lines = path.read_text().splitlines()
    path.write_text('\n'.join([lines[0], lines[1].replace('voice', 'face'), *lines[2:]]))
    judge.judge_lines(fake.endpoint, questions(2), path)
    assert path.read_text().splitlines() == lines and len(fake.seen) == 4 + 1


def test_verdicts_of_another_judge_are_neither_used_nor_overwritten(opened, tmp_path):
    fake, path = opened(verdict), tmp_path / 'mme_sa.jsonl'
    judge.judge_lines(fake.endpoint, questions(2), path)
    other, before = dataclasses.replace(fake.endpoint, model='umpire'), path.read_bytes()
    with pytest.raises(ValueError, match='of referee at 127.0.0.1, but the judge is now umpire'):
        judge.judge_lines(other, questions(2), path)
    assert path.read_bytes() == before and len(fake.seen) == 4


def test_verdicts_before_the_endpoint_fails_are_kept(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, 'AT_ONCE', 1)
    replies = iter([FAST, SLOW])
    fake, path = opened(lambda chat: next(replies, (503, '', {}))), tmp_path / 'mme_sa.jsonl'
    with pytest.raises(ConnectionError, match='Verdicts so far are kept'):
        judge.judge_lines(fake.endpoint, questions(2), path)
    assert len(path.read_text().splitlines()) == 2
    fake.reply = verdict
    assert all(line['scores'] for line in judge.judge_lines(fake.endpoint, questions(2), path))


def test_verdicts_beside_one_that_fails_are_kept(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(judge, 'AT_ONCE', 2)
    fake, path = opened(verdict), tmp_path / 'mme_sa.jsonl'
    fake.reply = lambda chat: (401, '', {}) if 'Odd?' in str(chat) else verdict(chat)
    asked = questions(6)
    asked[0] = dataclasses.replace(asked[0], asked='Odd?')
    with monkeypatch.context() as patched, pytest.raises(ConnectionError, match='HTTP 401'):
        patched.setattr(judge, 'judged_line', late_for('Odd?', judge.judged_line))
        judge.judge_lines(fake.endpoint, asked, path)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line['id'] for line in kept] == [question.id for question in asked[1:]]
    fake.reply, seen = verdict, len(fake.seen)
    lines = judge.judge_lines(fake.endpoint, asked, path)
    assert len(fake.seen) == seen + 1
    assert [judge.about_of(line) for line in lines] == [question.about for question in asked]
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines


def late_for(asked, judged_line):
    """`judged_line` that answers one question after all others."""
    done = threading.Semaphore(0)

    def late(endpoint, question):
        if question.asked == asked:
            for _ in range(11):
                assert done.acquire(timeout=30)
            return judged_line(endpoint, question)
        try:
            return judged_line(endpoint, question)
        finally:
            done.release()

    return late


@pytest.mark.parametrize(
    'damage',
    [
        '3',
        '[' * 100_000,
        '{"id": "clip 0"}',
        lambda line: line | {'scores': [2.0]},
        lambda line: line | {'scores': ['1']},
        lambda line: line | {'scores': []},
        lambda line: line | {'scores': 1},
    ],
)
def test_only_a_damaged_line_is_asked_for_again(opened, tmp_path, damage):
    fake, path = opened(verdict), tmp_path / 'mme_sa.jsonl'
    lines = judge.judge_lines(fake.endpoint, questions(3), path)
    texts = [json.dumps(line) for line in lines]
    texts[2] = damage if isinstance(damage, str) else json.dumps(damage(lines[2]))
    path.write_text('\n'.join(texts) + '\n')
    fake.seen.clear()
    assert judge.judge_lines(fake.endpoint, questions(3), path) == lines
    assert len(fake.seen) == 1
    assert [json.loads(text) for text in path.read_text().splitlines()] == lines


def test_a_rejected_chat_is_skipped_and_its_reason_kept(opened, tmp_path):
    fake = opened(lambda chat: (400, f'unsafe {KEY}', {}) if 'Odd?' in str(chat) else FAST)
    asked = [judge.Question('clip 0', 'fast', 'Odd?', ('sad',), ('x',), None), questions(1)[0]]
    refused, judged = judge.judge_lines(fake.endpoint, asked, tmp_path / 'mme_sa.jsonl')
    assert refused['scores'] is None and refused['said'] == "HTTP 400: 'unsafe [key]'"
    assert judged['scores'] == [1]


def test_a_judge_that_gives_no_verdict_is_given_up_early(opened, tmp_path):
    # The pause keeps the requests from running ahead of the count of verdicts.
    fake, path = opened(lambda chat: time.sleep(0.01) or 'I cannot say.'), tmp_path / 'mme_sa.jsonl'
    with pytest.raises(ValueError, match="first 16 answers; its last reply is 'I cannot say.'"):
        judge.judge_lines(fake.endpoint, questions(100), path)
    assert len(path.read_text().splitlines()) == judge.PATIENCE
    assert len(fake.seen) < 200


def test_without_a_clip_of_two_verdicts_nothing_is_compared():
    lines = [{'id': 'a', 'mode': mode, 'scores': None} for mode in MODES]
    with pytest.raises(ValueError, match='referee at host gave no verdict on both answers'):
        judge.judged_scores(Endpoint('https://host/v1', 'referee', ''), lines)


@pytest.mark.slow
def test_an_evaluation_names_its_judge_and_never_the_key(opened, asked, tmp_path, capsys):
    fake = opened(lambda chat: f'{verdict(chat)} {KEY}')
    assert benchmark.run(asked, tmp_path / 'out')['protocol']['judge'] == 'none'
    assert not fake.seen and not (tmp_path / 'out' / 'judged').exists()
    asked.judge.endpoint = fake.url
    asked.judge.price_read = 100.0
    results = benchmark.run(asked, tmp_path / 'out')
    told = capsys.readouterr().err
    assert 'judge referee at 127.0.0.1: 12 requests, about ' in told and ' at judge.price' in told
    written = contents(tmp_path / 'out')
    assert len(fake.seen) == 12 and all('positive' in text for text in fake.texts())
    assert all(len(chat['messages'][1]['content']) == 5 for _, _, chat in fake.seen)
    on_disk = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert on_disk['sets'] == results['sets']
    assert results['protocol']['judge'] == 'referee at 127.0.0.1'
    judged = results['sets']['mme_sa']['judged']
    assert (judged['judge'], judged['host']) == ('referee', '127.0.0.1')
    assert [judged[mode]['cot'] for mode in MODES] == [0.5, 0.5]
    assert judged['slow']['kept'] == 3 and judged['difference']['reasoning'] == 0.5
    said = (tmp_path / 'out' / 'results.md').read_text()
    assert (
        '| mme_ml_er | recognition (judged) | 3 | 100.00 [100.00, 100.00] | 50.00 [50.00, 50.00] | '
        '-50.00 [-50.00, -50.00] |'
    ) in said
    who = 'judged by referee at 127.0.0.1; 0 fast and 0 slow answers got no verdict'
    assert f'* mme_sa: {who}\n' in said
    assert not any(KEY.encode() in text for text in written.values())
    assert benchmark.run(asked, tmp_path / 'out') == results
    assert '0 requests (12 verdicts are kept and not asked for again)' in capsys.readouterr().err
    assert contents(tmp_path / 'out') == written and len(fake.seen) == 12


@pytest.mark.slow
def test_a_failing_judge_leaves_the_other_figures(opened, asked, tmp_path):
    asked.judge.endpoint = opened(lambda chat: (401, 'who are you?', {})).url
    with pytest.raises(ConnectionError, match='who are you'):
        benchmark.run(asked, tmp_path / 'out')
    sets = json.loads((tmp_path / 'out' / 'results.json').read_text())['sets']
    assert [scored['slow']['kept'] for scored in sets.values()] == [3, 3]
    assert not any('judged' in scored for scored in sets.values())


@pytest.mark.parametrize(
    ('key', 'value', 'part'),
    [
        ('model', '', "judge.model='': name the model"),
        ('endpoint', 'http://judge.example', 'use https'),
        ('seconds', 0.0, 'judge.seconds=0.0: must be above 0'),
        ('price_read', -1.0, 'judge.price_read=-1.0: must be at least 0'),
        ('price_written', float('nan'), 'judge.price_written=nan: must be a finite number'),
        ('key', KEY, 'judge.key: must be the name of an environment variable'),
    ],
)
def test_an_unusable_judge_is_refused_before_anything_is_written(asked, tmp_path, key, value, part):
    asked.judge.endpoint = 'https://judge.example/v1'
    asked.judge[key] = value
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=part):
        benchmark.run(asked, tmp_path / 'out')
    assert contents(tmp_path) == before


def test_a_judge_is_refused_for_sets_that_it_cannot_judge(asked, tmp_path):
    (tmp_path / 'ravdess').mkdir()
    write_film(tmp_path / 'ravdess' / '01-01-03-01-01-01-01.mp4', 1)
    asked.benchmarks, asked.judge.endpoint = ('ravdess',), 'https://judge.example/v1'
    with pytest.raises(ValueError, match=r'judges sets of MME-Emotion \(mme_…\), .* only ravdess'):
        benchmark.run(asked, tmp_path / 'out')
