"""Six layouts of other people's folders become manifests; leaks and duplicates are found."""

import csv
import json
import sys
import time

import pytest
from benchmark_folders import put, put_corpora
from media_files import write_film

from mer_jax.data.clips import read_manifest
from mer_jax.data.prepare.__main__ import main
from mer_jax.data.prepare.prepare import Asked, prepare

ROWS = (  # file, emotion, film, split, text
    ('a.mp4', 'happy', 'Up', 'train', 'Hello.'),
    ('b.mp4', 'sad, lonely', 'Up', 'test', 'Go.'),
    ('c.mp4', 'angry', 'Cars', 'train', ''),
    ('d.mp4', 'zwolp', 'Brave', 'test', 'Well.'),
)


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    """The bytes of films of 4, 6 and 8 frames, the first with a tone."""
    folder = tmp_path_factory.mktemp('films')
    return [
        write_film(folder / f'{n}.mp4', frames=n, fps=8, sound=n == 4).read_bytes()
        for n in (4, 6, 8)
    ]


def put_films(folder, films, *paths):
    """Writes films at these paths: the first two are the same, the others differ."""
    for i, path in enumerate(paths):
        put(folder, path, data=films[max(i - 1, 0) % len(films)])


def put_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='') as file:
        csv.writer(file).writerows([header, *rows])


def prepared(folder, **asked):
    """The report of a folder, and the clips of its manifest by id."""
    manifest = folder / 'manifest.jsonl'
    report = prepare(Asked(folder, manifest, **asked))
    return report, {clip.id: clip for clip in read_manifest(manifest)}


def words(clips):
    return {name: clip.words for name, clip in clips.items()}


@pytest.fixture
def table(tmp_path, films):
    """A folder of clips and a CSV."""
    put_films(tmp_path, films, *(f'clips/{row[0]}' for row in ROWS[:3]))
    put(tmp_path, 'clips/d.mp4', data=b'no film')
    header = ('File Name', 'Emotion', 'movie', 'split', 'Text')
    put_table(tmp_path / 'labels.csv', header, [*ROWS, ('e.mp4', 'calm', 'Up', 'test', '')])
    return tmp_path


def test_a_csv_beside_clips_is_read_with_leaks_duplicates_and_damaged_files(table):
    report, clips = prepared(table)
    assert report['layout'] == 'table'
    assert words(clips) == {
        'clips/a.mp4': ('happy',),
        'clips/b.mp4': ('sad', 'lonely'),
        'clips/c.mp4': ('angry',),
    }
    assert clips['clips/a.mp4'].subtitle == 'Hello.' and clips['clips/a.mp4'].source == 'Up'
    assert 'media = File Name' in report['columns']['labels.csv']
    assert report['sides'] == {'train': 2, 'test': 1}
    assert report['duplicates']['across_sides'] == 1
    assert report['duplicates']['examples'][0]['clips'] == ['clips/a.mp4', 'clips/b.mp4']
    assert [one['source'] for one in report['leaks']['examples']] == ['Up']
    reasons = [one['reason'] for one in report['left_out']['examples']]
    assert "media='e.mp4': no such file" in reasons[0] and 'd.mp4: cannot be decoded' in reasons[1]
    assert [clip.id for clip in read_manifest(table / 'manifest-test.jsonl')] == ['clips/b.mp4']


def test_the_report_counts_frames_sound_and_unknown_words(table, films):
    put(table, 'clips/d.mp4', data=films[2])
    report, _ = prepared(table)
    assert report['media']['frames']['least'] == 4 and report['media']['frames']['greatest'] == 8
    assert report['media']['films_without_sound']['count'] == 2
    assert report['unknown_words'] == {'zwolp': 1}
    assert report['clips_without_known_word']['examples'] == ['clips/d.mp4']
    page = (table / 'manifest.report.html').read_text()
    assert page.count('<figure>') > 6 and 'data:image/jpeg' in page and 'zwolp' in page


def test_a_second_start_opens_no_file_again(table, monkeypatch):
    prepared(table)
    kept = table / 'manifest.probes.jsonl'
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b''.join(lines[:2]) + lines[2][:20])  # as a kill leaves it
    opened = []
    from mer_jax.data.prepare import probe

    real = probe.probe
    monkeypatch.setattr(probe, 'probe', lambda path: opened.append(path) or real(path))
    again, clips = prepared(table)
    assert len(opened) == 2 and len(clips) == 3 and again['media']['opened'] == 4


def test_tables_in_folders_of_splits_are_read(tmp_path, films):
    put_films(tmp_path, films, 'train/a.mp4', 'test/a.mp4')
    for split, word in (('train', 'happy'), ('test', 'sad')):
        put_table(tmp_path / split / 'metadata.csv', ('file_name', 'label'), [('a.mp4', word)])
    report, clips = prepared(tmp_path)
    assert words(clips) == {'train/a.mp4': ('happy',), 'test/a.mp4': ('sad',)}
    assert report['sides'] == {'train': 1, 'test': 1}
    assert report['duplicates']['across_sides'] == 1


def test_mertools_labels_join_media_and_subtitles_by_name(tmp_path, films):
    put_films(tmp_path, films, 'video/s1.mp4', 'subvideo/s1.mp4', 'video/s2.mp4')
    put(tmp_path, 'audio/s1.wav', data=b'x')
    put_table(tmp_path / 'track2_train_ovmerd.csv', ('name', 'openset'), [('s1', "['sad', 'shy']")])
    put_table(tmp_path / 'track3_train_ovmerd.csv', ('name', 'reason'), [('s1', 'He looks away.')])
    put_table(
        tmp_path / 'subtitle_chieng.csv', ('name', 'chinese', 'english'), [('s1', '你', 'You')]
    )
    put_table(tmp_path / 'track_all_candidates.csv', ('name',), [('s2',)])
    report, clips = prepared(tmp_path, media=False)
    assert report['layout'] == 'mertools' and words(clips) == {'s1': ('sad', 'shy')}
    clip = clips['s1']
    assert (clip.subtitle, clip.reasoning) == ('You', 'He looks away.')
    assert clip.video.endswith('subvideo/s1.mp4') and clip.audio.endswith('audio/s1.wav')
    assert any('track_all_candidates.csv' in note for note in report['notes'])


def test_corpora_of_an_npz_are_splits(tmp_path, films):
    put_films(tmp_path, films, 'video/m1.mp4', 'video/m2.mp4')
    corpora = {
        'train_corpus': {'m1': {'emo': 'happy', 'val': 1.0}},
        'test1_corpus': {'m2': {'emo': 'sad', 'val': -1.0}},
    }
    put_corpora(tmp_path, 'label-6way.npz', **corpora)
    report, clips = prepared(tmp_path)
    assert report['layout'] == 'mertools' and words(clips) == {'m1': ('happy',), 'm2': ('sad',)}
    assert report['sides'] == {'train': 1, 'test1': 1}
    assert report['duplicates']['across_sides'] == 1


def test_parquet_of_datasets_gives_files_and_names_of_classes(tmp_path, films):
    arrow = pytest.importorskip('pyarrow')
    import pyarrow.parquet

    features = {
        'video': {'_type': 'Video'},
        'label': {'_type': 'ClassLabel', 'names': ['sad', 'joy']},
    }
    meta = {'huggingface': json.dumps({'info': {'features': features}})}
    for split, labels in (('train', [0, 1]), ('test', [1])):
        rows = {
            'video': [{'bytes': films[i], 'path': f'{split}{i}.mp4'} for i in range(len(labels))],
            'label': labels,
            'speaker': [f'p{i}' for i in range(len(labels))],
        }
        table = arrow.table(rows).replace_schema_metadata(meta)
        pyarrow.parquet.write_table(table, tmp_path / f'{split}-00000-of-00001.parquet')
    report, clips = prepared(tmp_path)
    assert report['layout'] == 'parquet'
    assert sorted(clip.words for clip in clips.values()) == [('joy',), ('joy',), ('sad',)]
    assert all('/media/' in clip.video for clip in clips.values())
    assert report['duplicates']['across_sides'] == 1 and report['leaks']['sources'] == 1


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    put(tmp_path, 'a.parquet', data=b'PAR1')
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    with pytest.raises(ValueError, match='pip install pyarrow'):
        prepared(tmp_path)


def test_llava_conversations_give_question_and_words(tmp_path, films):
    put_films(tmp_path, films, 'videos/1.mp4', 'videos/2.mp4')
    asks = {'from': 'human', 'value': '<video>\nWhat does she feel?'}
    talks = [
        {
            'id': 'x1',
            'video': '/elsewhere/videos/1.mp4',
            'conversations': [asks, {'from': 'gpt', 'value': 'happy, proud'}],
        },
        {
            'id': 'x2',
            'video': '2.mp4',
            'conversations': [
                asks,
                {'from': 'gpt', 'value': 'She looks sad and a little tired today.'},
            ],
        },
    ]
    (tmp_path / 'train.json').write_text(json.dumps(talks))
    report, clips = prepared(tmp_path)
    assert report['layout'] == 'llava' and words(clips) == {'x1': ('happy', 'proud')}
    assert clips['x1'].question == 'What does she feel?'
    assert '--sentences' in report['left_out']['examples'][0]['reason']
    report, clips = prepared(tmp_path, sentences=True)
    assert 'sad' in clips['x2'].words and report['duplicates']['groups'] == 1


def test_messages_of_trl_give_media_reasoning_and_words(tmp_path, films):
    put_films(tmp_path, films, 'm/1.mp4', 'm/2.mp4')
    said = '<think>A smile.</think><answer>happy</answer>'
    lines = [
        {
            'messages': [
                {'role': 'system', 'content': 'Help.'},
                {
                    'role': 'user',
                    'content': [
                        {'type': 'video', 'video': 'm/1.mp4'},
                        {'type': 'text', 'text': 'Which emotion?'},
                    ],
                },
                {'role': 'assistant', 'content': [{'type': 'text', 'text': said}]},
            ]
        },
        {
            'prompt': [{'role': 'user', 'content': '<video>Which?'}],
            'videos': ['m/2.mp4'],
            'solution': 'sad',
        },
    ]
    (tmp_path / 'data.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    report, clips = prepared(tmp_path)
    assert report['layout'] == 'messages'
    assert words(clips) == {'m/1.mp4': ('happy',), 'm/2.mp4': ('sad',)}
    assert (clips['m/1.mp4'].reasoning, clips['m/1.mp4'].question) == ('A smile.', 'Which emotion?')
    assert report['duplicates']['groups'] == 1


def test_sub_folders_are_labels(tmp_path, films):
    names = ('train/happy/p1/a.mp4', 'test/sad/p1/a.mp4', 'test/01_angry/p2/c.mp4')
    put_films(tmp_path, films, *names)
    report, clips = prepared(tmp_path)
    assert report['layout'] == 'folders'
    assert words(clips) == dict(zip(names, [('happy',), ('sad',), ('angry',)], strict=True))
    assert report['leaks']['sources'] == 1 and report['duplicates']['across_sides'] == 1


def test_a_manifest_elsewhere_reaches_its_clips_by_a_link(table, tmp_path_factory):
    out = tmp_path_factory.mktemp('out') / 'mine.jsonl'
    for _ in range(2):
        prepare(Asked(table, out, media=False))
        clips = read_manifest(out)
        assert len(clips) == 4 and clips[0].video.startswith(str(out.parent / table.name))


@pytest.mark.slow
def test_ten_thousand_rows_take_seconds_without_media(tmp_path):
    rows = [(f'c{i}', 'happy', f'film{i % 90}', f'line {i}') for i in range(10_000)]
    for name, *_ in rows[:3000]:
        put(tmp_path, f'clips/{name}.mp4')
    put_table(tmp_path / 'all.csv', ('name', 'emotion', 'film', 'subtitle'), rows)
    begin = time.process_time()
    report, clips = prepared(tmp_path, media=False)
    assert report['clips'] == len(clips) == 10_000 and time.process_time() - begin < 60
    assert report['kinds'] == {'video + subtitle': 3000, 'subtitle': 7000}
    assert any(count == 7000 and '--video COLUMN' in said for count, said in report['problems'])


def test_a_manifest_of_ours_comes_through_unchanged(table):
    line = {'id': 'x', 'video': 'clips/a.mp4', 'subtitle': 'Go.', 'reasoning': 'He shouts.'}
    line |= {'words': ['angry', 'tense'], 'cues': ['Loud.', 'Red.'], 'answer': ['angry']}
    (table / 'mine.jsonl').write_text(json.dumps(line) + '\n')
    prepare(Asked(table / 'mine.jsonl', table / 'checked.jsonl'))
    assert read_manifest(table / 'checked.jsonl') == read_manifest(table / 'mine.jsonl')


def test_a_manifest_of_the_user_is_not_overwritten(table):
    (table / 'manifest.jsonl').write_text('mine')
    with pytest.raises(ValueError, match='not overwritten; name another file'):
        prepared(table, media=False)
    assert (table / 'manifest.jsonl').read_text() == 'mine'


@pytest.mark.parametrize(
    ('asked', 'said'),
    [
        (['--words', 'mood'], '--words=mood: no table has this column'),
        (['--table', 'x.csv'], '--table=x.csv: there is no such table'),
        (['--layout', 'llava'], 'found no clips with words'),
    ],
)
def test_errors_name_the_flag_and_the_way_out(table, asked, said):
    with pytest.raises(SystemExit) as left:
        main([str(table), '--no-media', *asked])
    assert said in str(left.value)


def test_labels_that_are_numbers_need_names(tmp_path, films, capsys):
    put_films(tmp_path, films, 'a.mp4', 'b.mp4')
    put_table(tmp_path / 't.csv', ('video', 'label'), [('a.mp4', 0), ('b.mp4', 1)])
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path), '--no-media'])
    assert '--labels angry,happy,…' in str(left.value)
    main([str(tmp_path), '--no_media', '--labels', 'sad,happy'])
    assert 'layout table, 2 clips' in capsys.readouterr().out
