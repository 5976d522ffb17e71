"""Whole prompts against the processors of `transformers`: token ids, patches, log-mel, grids.

Their video processors need torchvision, so a stand-in joins the patches that the image processor
gives for single frames; every other step is theirs.
"""

import types

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import transformers  # noqa: E402, after torch is known to be there
from tiny_tokenizers import TOKENIZERS  # noqa: E402

from mer_jax.data.clips import Clip  # noqa: E402
from mer_jax.data.positions import Layout  # noqa: E402
from mer_jax.data.prompts import write_prompt  # noqa: E402

QUESTION = 'What does this person feel?'
PIXELS = (56 * 56, 140 * 140)
DRAW = np.random.default_rng(0)
IMAGES = transformers.Qwen2VLImageProcessorPil(min_pixels=PIXELS[0], max_pixels=PIXELS[1])


class Films:
    """The stand-in for a video processor: frames as images, two of which share each patch."""

    merge_size, temporal_patch_size = 2, 2

    def __call__(self, videos, **options):
        (frames,) = videos
        frames = [*frames, *[frames[-1]] * (len(frames) % 2)]
        found = IMAGES(frames, return_tensors='np')
        t, (_, rows, columns) = len(frames) // 2, found['image_grid_thw'][0]
        single = found['pixel_values'].reshape(t, 2, rows * columns, 3, 2, 14 * 14)[..., 0, :]
        return {
            'pixel_values_videos': np.moveaxis(single, 1, 3).reshape(t * rows * columns, -1),
            'video_grid_thw': np.array([[t, rows, columns]]),
            'video_metadata': [types.SimpleNamespace(sampled_fps=options['fps'])],
        }


def processor(kind, tokenizer, names):
    """A processor made without its constructor, which would look for torchvision."""
    made = object.__new__(kind)
    made.tokenizer, made.image_processor, made.video_processor = tokenizer, IMAGES, Films()
    for name, token in names.items():
        setattr(made, f'{name}_token', token)
        setattr(made, f'{name}_token_id', tokenizer.convert_tokens_to_ids(token))
    return made


def omni():
    """The processor and the layout of Qwen2.5-Omni."""
    names = {'image': '<|IMAGE|>', 'video': '<|VIDEO|>', 'audio': '<|AUDIO|>'}
    names |= {'vision_bos': '<|vision_bos|>', 'vision_eos': '<|vision_eos|>'}
    names |= {'audio_bos': '<|audio_bos|>', 'audio_eos': '<|audio_eos|>'}
    made = processor(transformers.Qwen2_5OmniProcessor, TOKENIZERS['omni'], names)
    made.feature_extractor = transformers.WhisperFeatureExtractor(feature_size=128, chunk_length=9)
    return made, Layout(
        family='omni',
        image=made.image_token_id,
        video=made.video_token_id,
        audio=made.audio_token_id,
        vision_start=made.vision_bos_token_id,
        vision_end=made.vision_eos_token_id,
        audio_start=made.audio_bos_token_id,
        audio_end=made.audio_eos_token_id,
    )


def vl():
    """The processor and the layout of Qwen2.5-VL."""
    names = {'image': '<|image_pad|>', 'video': '<|video_pad|>'}
    names |= {'vision_start': '<|vision_start|>', 'vision_end': '<|vision_end|>'}
    made = processor(transformers.Qwen2_5_VLProcessor, TOKENIZERS['vl'], names)
    ids = {name: getattr(made, f'{name}_token_id') for name in names}
    return made, Layout(family='vl', **ids)


FAMILIES = {'omni': omni(), 'vl': vl()}


def picture(height, width, *frames):
    return DRAW.integers(0, 256, (*frames, height, width, 3), np.uint8)


def sound(samples):
    return DRAW.normal(0, 0.1, samples).astype(np.float32)


def both(family, clip, system='', together=False):
    """The prompt of a clip, and the inputs that the processor makes of the same chat."""
    made, layout = FAMILIES[family]
    prompt = write_prompt(
        clip,
        made.tokenizer,
        layout,
        QUESTION,
        system=system,
        pixels=PIXELS,
        audio_in_video=together,
    )
    kinds = ['video'] * (clip.video is not None) + ['image'] * len(clip.images)
    kinds += ['audio'] * (clip.audio is not None and not together)
    said = f'{clip.subtitle}\n{QUESTION}' if clip.subtitle else QUESTION
    content = [{'type': kind} for kind in kinds] + [{'type': 'text', 'text': said}]
    turns = [{'role': 'system', 'content': system}] * bool(system)
    turns += [{'role': 'user', 'content': content}]
    chat = made.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    given = {'images': list(clip.images), 'videos': [clip.video], 'audio': [clip.audio]}
    given = {name: shown for name, shown in given.items() if shown and shown[0] is not None}
    if together:
        given |= {'load_audio_from_video': True, 'audio_from_video_indices': [0]}
    if clip.fps:
        given['fps'] = clip.fps
    return prompt, made(text=[chat], **given)


def cells(prompt, kind):
    """The patches shown by the tokens of a kind, in order: f[cells, 4 * x]."""
    return prompt.patch.reshape(-1, 4 * 1176)[prompt.place[prompt.token == kind]]


FILM = {'video': picture(70, 90, 6), 'fps': 2.0}
CLIPS = [
    Clip('text', subtitle='I am fine, really.'),
    Clip('image', image=picture(90, 61)),
    Clip('two images', image=(picture(56, 84), picture(300, 200)), subtitle='Look.'),
    Clip('film', **FILM),
    Clip(
        'film of odd length, and images', video=picture(56, 84, 7), fps=1.0, image=picture(20, 30)
    ),
]
HEARD = [Clip('sound', audio=sound(24_777)), Clip('film, then sound', **FILM, audio=sound(9_001))]


@pytest.mark.parametrize('system', ['', 'You are kind.'])
@pytest.mark.parametrize(
    ('family', 'clip'),
    [('omni', clip) for clip in CLIPS + HEARD] + [('vl', clip) for clip in CLIPS],
    ids=lambda value: value if isinstance(value, str) else value.id,
)
def test_a_prompt_equals_that_of_the_processor(family, clip, system):
    prompt, wanted = both(family, clip, system)
    layout = FAMILIES[family][1]
    assert [*prompt.token, prompt.start] == wanted['input_ids'][0]
    for kind, name in [(layout.image, 'pixel_values'), (layout.video, 'pixel_values_videos')]:
        seen = np.asarray(wanted.get(name, np.zeros((0, 1176)))).reshape(-1, 4 * 1176)
        np.testing.assert_allclose(cells(prompt, kind), seen, rtol=0, atol=1e-6)
    if clip.audio is not None:
        valid = int(np.sum(wanted['feature_attention_mask']))
        assert prompt.sound_length.sum() == valid
        heard = prompt.sound.reshape(-1, 128)[:valid]
        whole = np.asarray(wanted['input_features'])[0, :, :valid].T
        np.testing.assert_allclose(heard, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize('fps', [2.0, 1.0, 0.5])
@pytest.mark.parametrize('samples', [7_777, 40_001, 100_000])
def test_sound_inside_a_film_alternates_as_in_the_processor(fps, samples):
    clip = Clip(
        'c', video=picture(56, 84, 11), fps=fps, audio=sound(samples), image=picture(56, 56)
    )
    prompt, wanted = both('omni', clip, together=True)
    assert [*prompt.token, prompt.start] == wanted['input_ids'][0]


def test_the_temporal_patches_of_a_vl_film_last_as_long_as_in_the_processor():
    clip = Clip('c', video=picture(56, 84, 6), fps=0.8)
    prompt, wanted = both('vl', clip)
    steps = np.unique(prompt.position[0, prompt.token == FAMILIES['vl'][1].video])
    (seconds,) = wanted['second_per_grid_ts']
    assert (steps - steps[0]).tolist() == [int(2 * seconds * i) for i in range(3)] == [0, 5, 10]
