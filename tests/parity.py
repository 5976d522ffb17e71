"""Prompts that `transformers` and this package are both shown, and what each makes of them."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import tiny
import tiny_hf
import torch
import transformers
from tiny_prompts import QUESTION
from tiny_tokenizers import ID, tiny_tokenizer

from mer_jax import group
from mer_jax.data.clips import Clip
from mer_jax.data.collate import batch_prompts
from mer_jax.data.positions import Layout
from mer_jax.data.prompts import Prompt, write_prompt
from mer_jax.models.checkpoint.load import load_omni
from mer_jax.models.omni import Omni, perceive, read_prompts
from mer_jax.models.spec import Spec, read_spec, read_token_ids
from mer_jax.rl.grow import grow
from mer_jax.rl.score import Sampling, branch_hidden, score
from mer_jax.run.origin import make_layout

TOKENIZER = tiny_tokenizer()
TOKENS = {
    'image': ID['<|IMAGE|>'],
    'video': ID['<|VIDEO|>'],
    'audio': ID['<|AUDIO|>'],
    'vision_start': ID['<|vision_bos|>'],
    'vision_end': ID['<|vision_eos|>'],
    'audio_start': ID['<|audio_bos|>'],
    'audio_end': ID['<|audio_eos|>'],
}
ROWS = 320  # of the vocabulary; the tokenizer has fewer tokens
BRANCHES, LENGTH = 2, 12  # of the given branches, the prompt's last token included
GREEDY = 32  # tokens
SEED = 3  # with which no greedy choice is a near tie
torch.set_num_threads(1)  # tensors are tiny: threads would only wait for one another
DRAW = np.random.default_rng(3)


def picture(rows: int, columns: int, *frames: int) -> np.ndarray:
    """Noise that fills rows x columns cells of 28 pixels: an image, or so many frames."""
    return DRAW.integers(0, 256, (*frames, 28 * rows, 28 * columns, 3), np.uint8)


def noise(samples: int) -> np.ndarray:
    """A sound of white noise."""
    return DRAW.normal(0, 0.1, samples).astype(np.float32)


FILM = {'video': picture(3, 5, 6), 'fps': 2.0}
SCENE = {'video': picture(2, 3, 6), 'fps': 1.0, 'audio': noise(53_333)}
SEEN = [
    Clip('text', subtitle='I am fine, really.'),
    Clip('image', image=picture(3, 2)),
    Clip('video', **FILM),
    Clip('two images', image=(picture(5, 6), picture(2, 3)), subtitle='Look.'),
    Clip('video and image', **FILM, image=picture(2, 2)),
    Clip('25 frames a second', video=picture(2, 2, 6), fps=25.0),
    Clip('long video', video=picture(1, 2, 6), fps=0.5),  # 4 s a patch
]
HEARD = [
    Clip('sound', audio=noise(24_777), subtitle='Oh no.'),  # 155 mel frames
    Clip('video, then sound', **FILM, audio=noise(9_001)),
]
HEARD_INSIDE = [
    Clip('sound in video', **SCENE),
    Clip('sound in video, and an image', **SCENE, image=picture(2, 2)),
    Clip('sound in torn video', video=picture(2, 3, 6), fps=0.5, audio=noise(40_001)),
]


@dataclasses.dataclass(frozen=True)
class Shown:
    """A clip as both are shown it; `inside` if its sound stands inside its video."""

    clip: Clip
    inside: bool
    prompt: Prompt


@dataclasses.dataclass(frozen=True)
class Pair:
    """A reference model, the policy loaded from what it saved, and the prompts for both."""

    model: torch.nn.Module
    spec: Spec
    layout: Layout
    policy: Omni
    shown: list[Shown]


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a model did with one prompt and the branches that follow it."""

    input_td: np.ndarray  # what the decoder was given, features in place of media tokens
    position_3t: np.ndarray
    k_ltkh: np.ndarray  # keys after rotation, values
    v_ltkh: np.ndarray
    logits_gsv: np.ndarray  # behind each token of the branches


def make_pair(name: str, folder: pathlib.Path) -> Pair:
    """The model of that shape, saved to the folder and loaded from there, with its prompts."""
    model = tiny_hf.make_hf(name, SEED, TOKENS, ROWS)
    tiny_hf.save_hf(model, folder)
    spec = read_spec(folder)
    # Since 5.3 `transformers` lets text overlap a long video in Qwen2.5-VL: see the test of that.
    layout = make_layout(spec, read_token_ids(folder))
    layout = dataclasses.replace(layout, max_rule=False)
    policy = load_omni(folder, tiny.shapes(spec))
    shown = [show(clip, layout) for clip in SEEN + (HEARD if spec.audio else [])]
    if spec.audio:
        shown += [show(clip, layout, inside=True) for clip in HEARD_INSIDE]
    return Pair(model, spec, layout, policy, shown)


def show(clip: Clip, layout: Layout, inside: bool = False) -> Shown:
    """The clip as a prompt."""
    prompt = write_prompt(clip, TOKENIZER, layout, QUESTION, audio_in_video=inside)
    return Shown(clip, inside, prompt)


def as_batch(pair: Pair, pad: str = 'left') -> group.Prompts:
    """All prompts of the pair as one batch, with slots to spare."""
    prompts = [shown.prompt for shown in pair.shown]
    longest = max(len(prompt.token) for prompt in prompts)
    return batch_prompts(prompts, longest + 3, ID['<|endoftext|>'], pad)


def given_branches(pair: Pair) -> np.ndarray:
    """Random plain text behind the last token of each prompt: i[b, g, s]."""
    draw = np.random.default_rng(5)
    token = draw.integers(0, 256, (len(pair.shown), BRANCHES, LENGTH), np.int32)
    token[:, :, 0] = [[shown.prompt.start] for shown in pair.shown]
    return token


@jax.jit
def read(policy: Omni, prompts: group.Prompts, token_bgs):
    """Features f[b, rows, d], keys, logits f[b, g, s, v] and log-probabilities f[b, g, s]."""
    features = perceive(policy, prompts.media)
    keys = read_prompts(policy.decoder, prompts, features)
    hidden = branch_hidden(policy, prompts, keys, token_bgs)
    logits = policy.decoder.logits(hidden)
    sampling = Sampling(tokens=LENGTH, end=policy.spec.text.vocab_size, banned=())
    return features, keys, logits, score(policy, prompts, keys, token_bgs, sampling)


@jax.jit
def decode(policy: Omni, prompts: group.Prompts):
    """The likeliest token, again and again: i[b, s], at a temperature that leaves no choice."""
    keys = read_prompts(policy.decoder, prompts, perceive(policy, prompts.media))
    end = policy.spec.text.vocab_size
    sampling = Sampling(tokens=1 + GREEDY, end=end, banned=(), temperature=1e-6)
    grown = grow(
        policy.decoder,
        prompts,
        keys,
        jax.random.split(jax.random.key(0), prompts.start.shape[0]),
        opening=jnp.full((1, 1), -1),
        sampling=sampling,
        watch=lambda logp_bgv: (),
    )
    return grown.token[:, 0, 1:]


def arguments(pair: Pair, shown: Shown, branch=()) -> dict:
    """Arguments of the reference for one prompt, its media as the processors there make them."""
    prompt, clip, omni = shown.prompt, shown.clip, pair.spec.audio is not None
    ids = np.array([*prompt.token, prompt.start, *branch], np.int64)[None]
    found = {'input_ids': ids, 'attention_mask': np.ones_like(ids)}
    if clip.images:
        found['pixel_values'], found['image_grid_thw'] = processed_images(list(clip.images))
    if clip.video is not None:
        found['pixel_values_videos'], found['video_grid_thw'] = processed_video(clip.video)
        name = 'video_second_per_grid' if omni else 'second_per_grid_ts'
        found[name] = np.float32([2 / clip.fps])
    if omni and clip.audio is not None:
        found['input_features'], found['feature_attention_mask'] = processed_sound(clip.audio)
    if not omni:
        kinds = [ids == TOKENS['image'], ids == TOKENS['video']]
        found['mm_token_type_ids'] = np.select(kinds, [1, 2])
    return found


def joined(rows: list[dict]) -> dict:
    """The arguments of several prompts as one batch, padded left."""
    longest = max(row['input_ids'].shape[1] for row in rows)

    def padded(name, array):
        if name not in ('input_ids', 'attention_mask', 'mm_token_type_ids'):
            return array
        return np.pad(array, ((0, 0), (longest - array.shape[1], 0)))

    every = {name for row in rows for name in row}
    return {
        name: np.concatenate([padded(name, row[name]) for row in rows if name in row])
        for name in every
    }


def processed_images(images):
    """Patches and grids of images by the image processor."""
    processor = transformers.Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=10**7)
    found = processor(images, return_tensors='np')
    return found['pixel_values'], found['image_grid_thw']


def processed_video(frames):
    """Patches and grid of a video, out of those of its frames, each of which shows it twice."""
    values, grids = processed_images(list(frames))
    colours, temporal, pixels = 3, 2, 14 * 14
    single = values.reshape(len(frames) // 2, 2, -1, colours, temporal, pixels)[..., 0, :]
    pairs = np.moveaxis(single, 1, 3)
    grid = np.array([[len(frames) // 2, *grids[0][1:]]])
    return pairs.reshape(-1, colours * temporal * pixels), grid


def processed_sound(samples):
    """Log-mel frames and their mask by the feature extractor."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=128, chunk_length=5)
    found = extractor(
        samples, sampling_rate=16_000, return_attention_mask=True, return_tensors='np'
    )
    return found['input_features'], found['attention_mask']


def tensors(pair: Pair, found: dict, inside: bool) -> dict:
    """Arguments as tensors; `inside` if sounds stand inside videos."""
    made = {name: torch.from_numpy(array) for name, array in found.items()}
    if 'input_features' in made:
        made['input_features'] = made['input_features'].to(pair.model.dtype)
    if pair.spec.audio:
        made['use_audio_in_video'] = inside
    return made


@torch.no_grad()
def trace(pair: Pair, shown: Shown, branch_gs, position_3t=None) -> Trace:
    """What the reference does with a prompt and its branches, at positions of its own or given."""
    decoder, seen, logits, t = pair.model.model.language_model, {}, [], len(shown.prompt.token)

    def note_input(_, positional, named):
        seen['input'] = named['inputs_embeds']

    def note_position(_, positional):
        seen['position'] = positional[1]

    hooks = [
        decoder.register_forward_pre_hook(note_input, with_kwargs=True),
        decoder.rotary_emb.register_forward_pre_hook(note_position),
    ]
    for branch in branch_gs:
        given = tensors(pair, arguments(pair, shown, branch[1:]), shown.inside)
        if position_3t is not None:
            given['position_ids'] = torch.from_numpy(position_3t)[:, None]
        out = pair.model(**given, use_cache=True)
        logits.append(plain(out.logits[0, t:]))
    for hook in hooks:
        hook.remove()
    layers = out.past_key_values.layers
    return Trace(
        input_td=plain(seen['input'][0, :t]),
        position_3t=seen['position'][:, 0, : t + 1].numpy(),
        k_ltkh=np.stack([plain(layer.keys[0, :, :t]).swapaxes(0, 1) for layer in layers]),
        v_ltkh=np.stack([plain(layer.values[0, :, :t]).swapaxes(0, 1) for layer in layers]),
        logits_gsv=np.stack(logits),
    )


@torch.no_grad()
def generate(pair: Pair):
    """Greedy tokens i[b, s] of the reference, and f[b, s], how far each leads before the next."""
    token, lead = [], []
    for inside in (False, True):
        rows = [arguments(pair, one) for one in pair.shown if one.inside == inside]
        if not rows:
            continue
        pair.model.model.rope_deltas = None  # it would remember those of the last batch
        given = tensors(pair, joined(rows), inside)
        out = pair.model.generate(
            **given,
            do_sample=False,
            max_new_tokens=GREEDY,
            output_logits=True,
            return_dict_in_generate=True,
        )
        token.append(out.sequences[:, given['input_ids'].shape[1] :].numpy())
        best = torch.stack(out.logits, 1).topk(2).values
        lead.append(plain(best[..., 0] - best[..., 1]))
    return np.concatenate(token), np.concatenate(lead)


def plain(tensor):
    """A tensor as a float32 array."""
    return tensor.float().numpy()
