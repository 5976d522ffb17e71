"""Layouts: folders written as published give their clips and gold labels, and nothing outside."""

import json

import numpy as np
import pytest
from benchmark_folders import put, put_corpora, put_questions

from mer_jax.data.benchmarks import BENCHMARKS


def test_mer2023_gives_the_test_corpus_with_films_sounds_and_english_subtitles(tmp_path):
    folder = tmp_path / 'mer2023-dataset-process'
    put_corpora(
        folder,
        'label-6way.npz',
        train_corpus={'sample_1': {'emo': 'sad', 'val': 0.0}},
        test1_corpus={
            'sample_2': {'emo': 'happy', 'val': 1.5},
            'sample_3': {'emo': 'worried', 'val': -1},
            'sample_4': {'emo': 'sad', 'val': ''},
        },
    )
    put(folder, 'video/sample_2.mp4', 'video/sample_3.avi', 'audio/sample_2.wav', 'video/._x.mp4')
    transcript = '\ufeffname,chinese,english\r\nsample_2,好,"Well, good."\r\nsample_3,坏,\r\n'
    put(folder, 'transcription-engchi-polish.csv', data=transcript)
    found = BENCHMARKS['mer2023'].read(tmp_path)
    assert found.gold == {
        'sample_2': {'emo': 'happy'},
        'sample_3': {'emo': 'worried'},
        'sample_4': {'emo': 'sad'},
    }
    first, second = found.clips
    assert (first.id, first.words, first.subtitle) == ('sample_2', ('happy',), 'Well, good.')
    assert first.video == str(folder / 'video/sample_2.mp4')
    assert first.audio == str(folder / 'audio/sample_2.wav')
    assert second.video.endswith('sample_3.avi') and second.audio is None
    assert second.subtitle == '坏'
    assert found.absent == ['sample_4'] and not found.repeated and not found.unlisted


def test_mer2024_reads_its_own_transcript(tmp_path):
    folder = tmp_path / 'mer2024-dataset-process'
    put_corpora(folder, 'label-6way.npz', test1_corpus={'samplenew_1': {'emo': 'surprise'}})
    put(folder, 'video/samplenew_1.mp4')
    put(folder, 'transcription_merge.csv', data='name,sentence\nsamplenew_1,Oh!\n')
    (clip,) = BENCHMARKS['mer2024'].clips(tmp_path)
    assert (clip.words, clip.subtitle) == (('surprise',), 'Oh!')


def test_meld_indices_become_words_in_the_published_order(tmp_path):
    corpus = {f'dia0_utt{index}': {'emo': np.int64(index), 'val': -10} for index in range(7)}
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus=corpus)
    put(tmp_path, *(f'meld-process/subvideo/{name}.mp4' for name in corpus))
    words = [clip.words[0] for clip in BENCHMARKS['meld'].clips(tmp_path)]
    assert words == ['anger', 'joy', 'sadness', 'neutral', 'disgust', 'fear', 'surprise']


def test_iemocap_reads_session_5_alone_and_prefers_the_film_of_the_speaker(tmp_path):
    folder = tmp_path / 'iemocap-process'
    names = ('Ses01F_impro01_F000', 'Ses05F_impro01_M000', 'Ses05M_impro02_F000')
    put_corpora(
        folder,
        'label_4way.npz',
        whole_corpus={name: {'emo': index, 'val': 2.5} for index, name in enumerate(names)},
    )
    put(folder, *(f'subvideo/{name}.avi' for name in names), f'subvideo-tgt/{names[1]}.avi')
    found = BENCHMARKS['iemocap_four'].read(tmp_path)
    assert found.gold == {names[1]: {'emo': 'sad'}, names[2]: {'emo': 'neutral'}}
    assert found.clips[0].video == str(folder / f'subvideo-tgt/{names[1]}.avi')
    assert found.clips[1].video == str(folder / f'subvideo/{names[2]}.avi')


@pytest.mark.parametrize(
    ('key', 'folder', 'film'),
    [
        ('cmu_mosi', 'cmumosi-process', 'subvideo/x_1.mp4'),
        ('cmu_mosei', 'cmumosei-process', 'subvideo_new/x_1.mp4'),
        ('sims', 'sims-process', 'video/x_1.mp4'),
        ('sims_v2', 'simsv2-process', 'video_new/x_1.mp4'),
    ],
)
def test_sentiment_sets_give_numbers_as_gold_and_their_sign_as_the_word(
    tmp_path, key, folder, film
):
    values = {'x_1': 2.4, 'x_2': np.float32(-0.5), 'x_3': 0.0}
    corpus = {name: {'emo': 0, 'val': value} for name, value in values.items()}
    put_corpora(tmp_path / folder, 'label.npz', test_corpus=corpus)
    put(tmp_path / folder, film, 'subaudio/x_2.wav', 'audio/x_3.wav')
    found = BENCHMARKS[key].read(tmp_path)
    assert found.gold == {'x_1': {'val': 2.4}, 'x_2': {'val': -0.5}, 'x_3': {'val': 0.0}}
    assert [clip.words for clip in found.clips] == [('positive',), ('negative',), ('neutral',)]
    assert found.clips[0].video == str(tmp_path / folder / film)
    assert found.clips[1].audio and not found.clips[1].video


def test_open_sets_give_word_lists_and_an_empty_one_is_neutral(tmp_path):
    folder = tmp_path / 'ovmerdplus-process'
    rows = 'name,openset\nsample_1,"[Happy, \'relieved\']"\nsamplenew3_2,[]\n'
    put(folder, 'ovlabel.csv', data=rows)
    put(folder, 'video/sample_1.mp4', 'video/samplenew3_2.mp4')
    put(folder, 'subtitle_eng.csv', data='name,english\nsample_1,At last.\n')
    found = BENCHMARKS['ov_merd_plus'].read(tmp_path)
    assert found.gold == {
        'sample_1': {'openset': ['happy', 'relieved']},
        'samplenew3_2': {'openset': ['neutral']},
    }
    assert found.clips[0].words == ('happy', 'relieved')
    assert found.clips[0].subtitle == 'At last.'
    assert list(BENCHMARKS['ov_merd'].read(tmp_path).gold) == ['sample_1']


def test_mer2025_ov_gives_clips_without_gold(tmp_path):
    folder = tmp_path / 'mer2025-dataset'
    put(folder, 'track2_test.csv', data='name\nsample_9\n')
    put(folder, 'video/sample_9.mp4')
    found = BENCHMARKS['mer2025_ov'].read(tmp_path)
    assert [clip.id for clip in found.clips] == ['sample_9']
    assert found.gold == {} and found.clips[0].words == ()


def test_mme_emotion_finds_films_below_the_task_its_video_folder_or_the_root(tmp_path):
    folder = tmp_path / 'MME-Emotion'
    put_questions(
        folder,
        'ER-Lab',
        ('IEMOCAP/video/a.mp4', 'Anger'),
        ('IEMOCAP/video/b.mp4', 'Excited'),
        ('IEMOCAP/video/c.mkv', 'Other'),
        ('IEMOCAP/video/d.mp4', 'Fear'),
    )
    put(folder, 'ER-Lab/IEMOCAP/video/a.mp4', 'ER-Lab/video/IEMOCAP/video/b.mp4')
    put(folder, 'IEMOCAP/video/c.mkv')
    found = BENCHMARKS['mme_er_lab'].read(tmp_path)
    assert [clip.words for clip in found.clips] == [('anger',), ('excited',), ('other',)]
    assert found.gold['ER-Lab/IEMOCAP/video/a.mp4'] == {'emo': 'anger'}
    assert found.absent == ['ER-Lab/IEMOCAP/video/d.mp4']


def test_several_labels_of_mme_emotion_are_a_list(tmp_path):
    put_questions(tmp_path / 'MME-Emotion', 'ML-ER', ('CMU-MOSEI/video/a.mp4', 'happy, sad,fear'))
    found = BENCHMARKS['mme_ml_er'].read(tmp_path)
    assert found.gold == {'ML-ER/CMU-MOSEI/video/a.mp4': {'openset': ['happy', 'sad', 'fear']}}


def test_emoset_reads_the_test_list_and_not_the_folders(tmp_path):
    folder = tmp_path / 'EmoSet-118K'
    rows = [
        ['awe', 'awe_1', 'image/awe/awe_1.jpg', 'annotation/awe/awe_1.json'],
        ['fear', 'fear_2', 'image/fear/fear_2.jpg', 'annotation/fear/fear_2.json'],
    ]
    put(folder, 'test.json', data=json.dumps(rows))
    put(folder, 'image/awe/awe_1.jpg', 'image/awe/awe_3.jpg')
    found = BENCHMARKS['emoset'].read(tmp_path)
    assert [(clip.id, clip.images) for clip in found.clips] == [
        ('awe_1', (str(folder / 'image/awe/awe_1.jpg'),))
    ]
    assert found.gold['fear_2'] == {'emo': 'fear'} and found.absent == ['fear_2']


def test_emotion6_takes_the_label_from_the_folder_of_the_image(tmp_path):
    put(tmp_path / 'Emotion6', 'images/joy/1.jpg', 'images/anger/1.jpg', 'images/joy/readme.txt')
    put(tmp_path / 'Emotion6', 'images/other/1.jpg', 'ground_truth.txt')
    found = BENCHMARKS['emotion6'].read(tmp_path)
    assert found.gold == {'anger/1.jpg': {'emo': 'anger'}, 'joy/1.jpg': {'emo': 'joy'}}


def test_a_test_folder_is_preferred_and_misspelt_folders_are_known(tmp_path):
    put(tmp_path / 'WEBEmo', 'test/cheerfullness/a.jpg', 'test/Zest/b.jpg', 'train/rage/c.jpg')
    found = BENCHMARKS['webemo'].read(tmp_path)
    assert [clip.words for clip in found.clips] == [('zest',), ('cheerfulness',)]


@pytest.mark.parametrize('film', ['Clip/original/part_1/00017.mp4', 'videos/17.mp4'])
def test_dfew_labels_count_from_one_and_films_may_have_leading_zeros(tmp_path, film):
    test_list = 'EmoLabel_DataSplit/test(single-labeled)/set_1.csv'
    put(tmp_path / 'DFEW', test_list, data='video_name,label\n17,1\n18,7\n')
    put(tmp_path / 'DFEW', film)
    found = BENCHMARKS['dfew'].read(tmp_path)
    assert found.gold == {'17': {'emo': 'happy'}, '18': {'emo': 'fear'}}
    assert [clip.video for clip in found.clips] == [str(tmp_path / 'DFEW' / film)]
    assert found.absent == ['18']


def test_mafw_reads_the_test_list_of_the_first_fold(tmp_path):
    test_list = 'Train & Test Set/single/no_caption/set_1/test.txt'
    put(tmp_path / 'MAFW', test_list, data='00151.mp4 anger\n\n00152.mp4\thelplessness\n')
    put(tmp_path / 'MAFW', 'clips/00151.mp4', 'clips/00152.mp4', 'clips/00153.mp4')
    found = BENCHMARKS['mafw'].read(tmp_path)
    assert found.gold == {'00151': {'emo': 'anger'}, '00152': {'emo': 'helplessness'}}
    assert len(found.clips) == 2


def test_ravdess_reads_spoken_films_with_sound_by_their_codes(tmp_path):
    actor = 'Video_Speech_Actor_01/Actor_01'
    names = ('01-01-01-01-01-01-01', '01-01-08-02-02-01-01', '02-01-03-01-01-01-01')
    put(tmp_path / 'RAVDESS', *(f'{actor}/{name}.mp4' for name in names))
    put(tmp_path / 'RAVDESS', 'Actor_02/01-02-03-01-01-01-02.mp4', 'Actor_01/notes-01.mp4')
    put(tmp_path / 'RAVDESS', 'Actor_01/03-01-04-01-01-01-01.wav')
    found = BENCHMARKS['ravdess'].read(tmp_path)
    assert found.gold == {names[0]: {'emo': 'neutral'}, names[1]: {'emo': 'surprised'}}
    assert all(clip.video and clip.audio is None for clip in found.clips)


def test_ravdess_without_films_is_read_from_its_sounds(tmp_path):
    put(tmp_path / 'ravdess', 'Actor_02/03-01-04-01-01-01-02.wav')
    (clip,) = BENCHMARKS['ravdess'].clips(tmp_path)
    assert clip.words == ('sad',) and clip.audio.endswith('.wav') and clip.video is None


def test_a_path_that_leaves_the_root_is_refused_in_every_layout(tmp_path):
    out = '../../secret'
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus={out: {'emo': 0}})
    put(tmp_path, 'ovmerdplus-process/ovlabel.csv', data=f'name,openset\n{out},[sad]\n')
    put_questions(tmp_path / 'MME-Emotion', 'SA', (f'{out}.mp4', 'negative'))
    put(tmp_path, 'EmoSet/test.json', data=json.dumps([['awe', 'a', f'{out}.jpg', 'a.json']]))
    test_list = 'DFEW/EmoLabel_DataSplit/test(single-labeled)/set_1.csv'
    put(tmp_path, test_list, data=f'video_name,label\n{out},1\n')
    for key in ('meld', 'ov_merd_plus', 'mme_sa', 'emoset', 'dfew'):
        with pytest.raises(ValueError, match='must stay below the folder of the benchmark'):
            BENCHMARKS[key].read(tmp_path)


class Hostile:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_an_npz_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    corpus = {'a': {'emo': Hostile(tmp_path / 'ran')}}
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus=corpus)
    with pytest.raises(ValueError, match=r'label\.npz'):
        BENCHMARKS['meld'].read(tmp_path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), '', None, 'much'])
def test_a_sentiment_that_is_not_finite_is_refused_by_name(tmp_path, value):
    put_corpora(tmp_path, 'sims-process/label.npz', test_corpus={'x': {'val': value}})
    with pytest.raises(ValueError, match=r"label\.npz: test_corpus\['x'\]: val=.* finite number"):
        BENCHMARKS['sims'].read(tmp_path)


@pytest.mark.parametrize('index', [-1, 7, 1.5, True, None, ''])
def test_an_index_outside_the_label_set_is_refused(tmp_path, index):
    put_corpora(tmp_path, 'meld-process/label.npz', test_corpus={'x': {'emo': index}})
    with pytest.raises(ValueError, match='must be a word, or an index from 0 to 6'):
        BENCHMARKS['meld'].read(tmp_path)


def test_a_missing_corpus_is_named_beside_those_in_the_archive(tmp_path):
    put_corpora(tmp_path, 'meld-process/label.npz', train_corpus={})
    with pytest.raises(ValueError, match='needs test_corpus, .* it holds train_corpus'):
        BENCHMARKS['meld'].read(tmp_path)
