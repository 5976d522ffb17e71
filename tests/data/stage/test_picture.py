"""Pictures of the stage: what they evoke, the halves that show it, and the gold steps to it."""

import functools
import re

import numpy as np
import pytest

from mer_jax.data.stage import stage
from mer_jax.data.stage.face import LOOKS
from mer_jax.data.stage.generator import DOMAINS, generator
from mer_jax.data.stage.picture import (
    BARE,
    BELIEVED,
    MASK,
    MISTAKEN,
    PICTURES,
    annotate,
    draw_scene,
    picture,
)
from mer_jax.data.stage.picture_words import EMOTIONS, LABELS, PLAIN, behind

STEPS = re.compile(r'<step1>(.*)</step1><step2>(.*)</step2><step3>(.*)</step3>')


def scenes(count, domain='home', split='train'):
    """Scenes and their clips, without images."""
    for index in range(count):
        rng = generator(5, split, index, domain)
        scene = draw_scene(rng)
        yield scene, annotate(rng, scene, domain, str(index))


@functools.cache
def halves(count, split, domain):
    """(image, label) of the faces of pictures, and of their sceneries that are no bare wall."""
    faces, sceneries = [], []
    for index in range(count):
        scene = draw_scene(generator(6, split, index, domain))
        left, right = np.split(picture(6, split, index, domain).image, 2, axis=1)
        face, scenery = (left, right) if scene.left else (right, left)
        faces.append((face, scene.face))
        if scene.scenery:
            sceneries.append((scenery, scene.scenery))
    return faces, sceneries


def colours(images):
    """The mean colours of blocks of 7 x 7 pixels, f[n, ...]."""
    blocks = np.stack(images).reshape(len(images), 8, 7, 8, 7, 3) / 255
    return blocks.mean((2, 4)).reshape(len(images), -1)


def outlines(images):
    """Blocks of 4 x 4 pixels in grey, without the brightness and the contrast of the image."""
    grey = np.stack(images).mean(3)
    grey -= grey.mean((1, 2), keepdims=True)
    grey /= grey.std((1, 2), keepdims=True)
    return grey.reshape(len(images), 14, 4, 14, 4).mean((2, 4)).reshape(len(images), -1)


def recognised(features, known, asked):
    """The share of (image, label) in `asked` whose label is that of the nearest mean of `known`."""
    (images, labels), (new, truth) = (zip(*rows, strict=True) for rows in (known, asked))
    seen, named = features(images), np.array(labels)
    means = np.stack([seen[named == label].mean(0) for label in LABELS])
    distance = np.square(features(new)[:, None] - means).sum(2)
    return np.mean(np.array(LABELS)[distance.argmin(1)] == np.array(truth))


def test_a_picture_is_eight_cells_of_28_pixels_and_has_one_gold_word():
    clip = picture(0, 'train', 0)
    assert clip.image.shape == (56, 112, 3) and clip.image.dtype == np.uint8
    assert clip.id == 'home-train-0-000000' and clip.video is None and clip.audio is None
    assert len(clip.words) == len(clip.answer) == 1 and clip.subtitle == ''


def test_a_picture_depends_on_seed_split_index_and_domain_alone():
    first = picture(3, 'train', 7)
    picture(0, 'test', 0, 'away')
    again = picture(3, 'train', 7)
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.id, first.words, first.reasoning) == (again.id, again.words, again.reasoning)
    for other in ((4, 'train', 7), (3, 'test', 7), (3, 'train', 8), (3, 'train', 7, 'away')):
        assert (picture(*other).image != first.image).mean() > 0.5


@pytest.mark.parametrize(
    ('place', 'words', 'reasoning'),
    [
        (
            (1, 'test', 0, 'home'),
            ('anger',),
            '<step1>a lifted face, flames behind.</step1><step2>one would jump up.</step2>'
            '<step3>positive, high arousal.</step3>',
        ),
        (
            (1, 'test', 1, 'away'),
            ('anger',),
            '<step1>a frowning face, a bare wall behind.</step1><step2>one would shout.</step2>'
            '<step3>negative, high arousal.</step3>',
        ),
    ],
)
def test_the_text_of_a_picture_is_the_same_on_every_machine(place, words, reasoning):
    clip = picture(*place)
    assert (clip.words, clip.reasoning) == (words, reasoning)


def test_films_and_the_domains_of_pictures_share_no_numbers():
    seen = {
        generator(seed, split, index, domain).bytes(16)
        for seed in (0, 1, 2)
        for split in stage.SPLITS
        for index in range(50)
        for domain in DOMAINS
    }
    assert len(seen) == 3 * 3 * 50 * 3


@pytest.mark.parametrize('domain', ['films', 'abroad'])
def test_a_domain_without_pictures_is_refused(domain):
    with pytest.raises(ValueError, match=f"domain='{domain}' must be one of home, away"):
        picture(0, 'train', 0, domain)


@pytest.mark.parametrize('domain', PICTURES)
def test_every_emotion_is_evoked_about_as_often(domain):
    felt = [scene.felt for scene, _ in scenes(4000, domain)]
    assert set(felt) == set(LABELS) and len(LABELS) == 8
    assert all(abs(felt.count(label) / 4000 - 1 / 8) < 0.02 for label in LABELS)


def test_masks_and_bare_walls_have_their_shares():
    drawn = [scene for scene, _ in scenes(4000)]
    masks = [scene for scene in drawn if scene.masked]
    honest = [scene for scene in drawn if not scene.masked]
    assert abs(len(masks) / 4000 - MASK) < 0.025
    assert abs(np.mean([scene.scenery is None for scene in honest]) - BARE) < 0.025
    assert abs(np.mean([scene.left for scene in drawn]) - 0.5) < 0.025
    assert {scene.strength for scene in drawn} == {0, 1, 2}
    shown = [scene.face for scene in masks]
    assert all(abs(shown.count(label) / len(masks) - 1 / 8) < 0.04 for label in LABELS)


def test_one_half_at_least_shows_the_emotion_and_the_scenery_never_lies():
    for scene, _ in scenes(2000):
        assert scene.scenery == scene.felt or (scene.scenery is None and not scene.masked)


def test_annotators_believe_masks_as_often_as_stated_and_else_tell_the_truth():
    believed = []
    for scene, clip in scenes(4000):
        assert clip.answer[0] in (scene.felt, scene.face)
        if scene.masked:
            believed.append(clip.answer[0] == scene.face)
    assert abs(np.mean(believed) - BELIEVED) < 0.04


def test_the_crowd_names_the_emotion_and_errs_as_seldom_as_stated():
    wrong = [clip.words != (scene.felt,) for scene, clip in scenes(4000)]
    assert abs(np.mean(wrong) - MISTAKEN) < 0.01


@pytest.mark.parametrize('domain', PICTURES)
def test_the_first_step_tells_what_both_halves_show(domain):
    for scene, clip in scenes(500, domain):
        triggers = STEPS.fullmatch(clip.reasoning)[1]
        said = behind(scene.scenery, domain)
        assert triggers == f'a {EMOTIONS[scene.face].manner} face, {said} behind.'
        assert (said == PLAIN) == (scene.scenery is None)


def test_the_later_steps_follow_the_answer_and_not_the_truth():
    for _, clip in scenes(1000):
        said = EMOTIONS[clip.answer[0]]
        _, feeling, valence = STEPS.fullmatch(clip.reasoning).groups()
        assert feeling in said.feelings
        assert valence == f'{said.sign}, {said.arousal} arousal.'


def test_the_steps_of_different_emotions_differ_and_never_name_one():
    each = list(EMOTIONS.values())
    for texts in (
        [emotion.manner for emotion in each],
        [PLAIN] + [text for emotion in each for text in (emotion.home, emotion.away)],
        [feeling for emotion in each for feeling in emotion.feelings],
    ):
        assert len(set(texts)) == len(texts)
    for scene, clip in scenes(1000):
        assert not set(LABELS) & set(re.findall(r'\w+', clip.reasoning)), scene
    assert len({emotion.family for emotion in each} & LOOKS.keys()) == 8


def test_home_and_away_have_other_people_and_other_sceneries():
    home, away = (
        np.stack([picture(8, 'test', index, domain).image for index in range(40)]).astype(float)
        for domain in PICTURES
    )
    # The grain of a picture away is twice as coarse, so neighbours differ less often.
    fine, coarse = (np.mean(np.diff(images, axis=2)[:, :, ::2] == 0) for images in (home, away))
    assert coarse > 2 * fine
    assert all(emotion.home != emotion.away for emotion in EMOTIONS.values())


@pytest.mark.parametrize('domain', PICTURES)
@pytest.mark.parametrize(('features', 'least'), [(colours, 0.7), (outlines, 0.5)])
def test_both_halves_can_be_recognised_by_their_colours_and_their_outlines(domain, features, least):
    known, asked = halves(300, 'train', domain), halves(150, 'test', domain)
    for half in (0, 1):  # of the face, of the scenery
        assert recognised(features, known[half], asked[half]) > least  # chance is 1/8


def test_sceneries_at_home_are_of_little_use_away():
    known, asked = halves(300, 'train', 'home'), halves(150, 'test', 'away')
    assert recognised(outlines, known[1], asked[1]) < 0.3
