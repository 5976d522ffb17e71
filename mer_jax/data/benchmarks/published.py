"""Rows of published tables, in per cent as their papers print them; none was measured here."""

from typing import NamedTuple


class Row(NamedTuple):
    """A published figure of a system on a benchmark."""

    system: str
    inputs: str  # A sound, V film, T subtitle, I image; '' if the source does not say
    metric: str
    percent: float
    source: str


MEAN = 'mer_unibench'  # the key of means over the nine sets of MER-UniBench
IMAGES_OVERALL = 'emotion_images'  # the key of EMO-R3's overall figures

_AFFECTGPT = 'AffectGPT (arXiv 2501.16566), maximum over checkpoints chosen on the test set'
_OV_MER = 'OV-MER (arXiv 2410.01495)'
_AFFECTGPT_R1 = 'AffectGPT-R1 (arXiv 2508.01318)'
_MER_R1 = 'MER-R1 (arXiv 2606.27652), from a digest'
_R1_OMNI = 'R1-Omni (arXiv 2503.05379)'
_EMO_R3 = 'EMO-R3 (arXiv 2602.23802), trained on EmoSet, from notes'
_EMO_R3_UNTRAINED = 'EMO-R3 (arXiv 2602.23802), not trained, from notes'
_EMO_R3_OVERALL = 'EMO-R3 (arXiv 2602.23802), over two trainings, from notes'
_MME = 'MME-Emotion (arXiv 2508.09210), judged by GPT-4o'

MER_UNIBENCH = (
    'mer2023',
    'mer2024',
    'meld',
    'iemocap_four',
    'cmu_mosi',
    'cmu_mosei',
    'sims',
    'sims_v2',
    'ov_merd_plus',
)
EMOTION_IMAGES = ('emoset', 'emotion6', 'webemo')
_UNIBENCH = (*MER_UNIBENCH, MEAN)
_WAF = ('cmu_mosi', 'cmu_mosei', 'sims', 'sims_v2')
_UNIBENCH_ROWS = """
OneLLM          A+T    25.52 17.21 28.32 33.44 64.01 54.09 63.39 61.98 22.25 41.14
SECap           A+T    40.95 52.46 25.56 36.92 55.76 54.18 59.51 57.41 36.97 46.64
PandaGPT        A+T    33.57 39.04 31.91 36.55 66.06 61.33 62.93 58.88 31.33 46.84
Qwen-Audio      A+T    41.85 31.61 49.09 35.47 70.09 46.90 70.73 65.26 32.36 49.26
SALMONN         A+T    55.53 45.38 45.62 46.84 81.00 67.03 68.69 65.93 45.00 57.89
AffectGPT       A+T    72.94 73.41 56.63 55.68 83.46 80.74 82.99 83.75 59.98 72.18
Otter           V+T    16.41 14.65 22.57 29.08 52.89 50.44 57.56 53.12 16.63 34.82
Video-LLaVA     V+T    36.93 30.25 30.73 38.95 56.37 61.64 53.28 57.45 34.00 44.40
PandaGPT        V+T    39.13 47.16 38.33 47.21 58.50 64.25 62.07 65.25 35.07 50.77
Video-ChatGPT   V+T    44.86 46.80 37.33 56.83 54.42 63.12 64.82 65.80 39.80 52.64
VideoChat2      V+T    33.67 54.50 36.64 48.70 66.84 54.32 69.49 70.66 39.21 52.67
LLaMA-VID       V+T    50.72 57.60 42.75 46.02 61.78 63.89 69.35 67.48 45.01 56.07
VideoChat       V+T    48.73 57.30 41.11 48.38 65.13 63.61 69.52 72.14 44.52 56.71
Chat-UniVi      V+T    57.62 65.67 45.61 52.37 54.53 63.18 68.15 66.36 48.00 57.94
mPLUG-Owl       V+T    56.86 59.89 49.11 55.54 72.40 72.91 72.13 75.00 48.18 62.45
AffectGPT       V+T    74.58 75.29 57.63 62.19 82.39 81.57 87.20 86.29 61.65 74.31
PandaGPT        A+V+T  40.21 51.89 37.88 44.04 61.92 67.61 68.38 67.23 37.12 52.92
Emotion-LLaMA   A+V+T  59.38 73.62 46.76 55.47 66.13 67.66 78.32 77.23 52.97 64.17
AffectGPT       A+V+T  78.54 78.80 55.65 60.54 81.30 80.90 88.49 86.18 62.52 74.77
"""

_OV_MERD = {
    'Qwen-Audio': 31.84,
    'Otter': 39.41,
    'Video-LLaMA': 40.31,
    'VideoChat': 37.58,
    'SECap': 42.43,
    'Video-LLaVA': 43.27,
    'SALMONN': 43.53,
    'VideoChat2': 42.65,
    'Video-ChatGPT': 46.02,
    'LLaMA-VID': 45.81,
    'mPLUG-Owl': 45.63,
    'Chat-UniVi': 46.75,
}

_R1_OMNI_ROWS = {  # DFEW, MAFW, RAVDESS: WAR and UAR each
    'HumanOmni-0.5B': (22.64, 19.44, 20.18, 13.52, 7.33, 9.38),
    'EMER-SFT': (38.66, 35.31, 38.39, 28.02, 29.00, 27.19),
    'MAFW-DFEW-SFT': (60.23, 44.39, 50.44, 30.39, 29.33, 30.75),
    'R1-Omni': (65.83, 56.27, 57.68, 40.04, 43.00, 44.69),
}

_UNTRAINED = 'Qwen2.5-VL-3B'
_EMO_R3_ROWS = {  # EmoSet (in domain), Emotion6, WebEmo (out of domain), printed overall
    _UNTRAINED: (51.55, 50.00, 40.65, 47.40),
    'SFT': (77.15, 34.51, 17.75, 43.84),
    'GRPO, 4 branches': (74.60, 60.10, 49.50, 59.97),
    'DAPO, 4 branches': (68.99, 56.90, 49.80, 58.28),
    'EMO-R3, 4 branches': (75.50, 60.44, 50.45, 60.50),
    'EMO-R3, 8 branches': (76.40, 59.26, 49.70, 60.42),
}
IMAGE_CAUTIONS = (
    "The rows of EMO-R3 come from second-hand notes of the paper's table, not from the paper.",
    'Its printed overall covers two trainings, on EmoSet and on Emotion6, as we infer from the '
    'numbers: it is not the mean of the three columns of the training on EmoSet.',
    'The row of EMO-R3 with 4 branches very likely includes a cold start: the mean of its columns, '
    "62.13, equals the figure of the paper's ablation with one.",
    'Reproductions differ: another group (AffectDrop, same base model, 2,000 images of EmoSet, '
    'three seeds) reports 58.45 ± 0.22 for its method, 8.38 above its own local run of EMO-R3.',
)

_MME_TASKS = ('er_lab', 'er_wild', 'noise_er', 'fg_er', 'ml_er', 'sa', 'fg_sa', 'ir')
_MME_ROWS = {  # the recognition score of each task, then the chain-of-thought score
    'Qwen2.5-Omni': (
        (19.8, 19.0, 24.2, 10.4, 11.0, 24.6, 6.2, 5.4),
        (35.2, 36.7, 42.1, 26.3, 38.0, 46.3, 25.7, 43.6),
    ),
    'R1-Omni': (
        (20.6, 34.3, 52.0, 5.1, 23.1, 27.8, 7.6, 16.6),
        (39.3, 43.6, 59.7, 27.3, 49.6, 44.2, 29.8, 37.7),
    ),
    'AffectGPT': (
        (18.0, 8.3, 16.8, 5.2, 10.8, 17.6, 12.8, 1.8),
        (41.2, 25.1, 38.1, 22.9, 38.3, 35.0, 32.1, 22.9),
    ),
    'Gemini-2.5-Pro': (
        (22.6, 36.7, 57.6, 38.6, 50.6, 48.2, 16.6, 28.1),
        (42.7, 52.0, 69.4, 49.8, 65.5, 63.4, 40.5, 56.4),
    ),
}

_OTHERS = {
    'ov_merd_plus': (
        Row('AffectGPT', 'A+V+T', 'P', 62.21, _AFFECTGPT),
        Row('AffectGPT', 'A+V+T', 'R', 63.00, _AFFECTGPT),
        Row('AffectGPT-R1, with thinking', '', 'F', 66.49, _AFFECTGPT_R1),
        Row('AffectGPT-R1, without thinking', '', 'F', 68.39, _AFFECTGPT_R1),
    ),
    MEAN: (
        Row('AffectGPT-R1', 'A+V+T', 'mean', 79.98, f'{_MER_R1}; 79.48 in another note'),
        Row('GRPO baseline of MER-R1', 'A+V+T', 'mean', 77.87, _MER_R1),
        Row('MER-R1', 'A+V+T', 'mean', 83.50, _MER_R1),
    ),
}


def published(key: str) -> list[Row]:
    """The published rows of a benchmark, of `MEAN` or `IMAGES_OVERALL`; [] if none is known."""
    rows = _unibench(key)
    if key == 'ov_merd':
        rows += [Row(name, '', 'M_avg', score, _OV_MER) for name, score in _OV_MERD.items()]
    if key in (sets := ('dfew', 'mafw', 'ravdess')):
        place = 2 * sets.index(key)
        for name, scores in _R1_OMNI_ROWS.items():
            pair = zip(('WAR', 'UAR'), scores[place : place + 2], strict=True)
            rows += [Row(name, 'A+V', metric, score, _R1_OMNI) for metric, score in pair]
    if key in (columns := (*EMOTION_IMAGES, IMAGES_OVERALL)):
        rows += _of_images(columns.index(key))
    if (task := key.removeprefix('mme_')) in _MME_TASKS:
        place = _MME_TASKS.index(task)
        for name, (recognition, thought) in _MME_ROWS.items():
            rows.append(Row(name, '', 'Rec', recognition[place], _MME))
            rows.append(Row(name, '', 'CoT', thought[place], _MME))
    return rows + list(_OTHERS.get(key, ()))


def _of_images(place: int) -> list[Row]:
    """The rows of a column of EMO-R3's table: a set, or the printed overall."""
    overall = place == len(EMOTION_IMAGES)
    metric = 'overall' if overall else 'accuracy'
    rows = []
    for name, scores in _EMO_R3_ROWS.items():
        source = _EMO_R3_OVERALL if overall else _EMO_R3
        source = _EMO_R3_UNTRAINED if name == _UNTRAINED else source
        rows.append(Row(name, 'I', metric, scores[place], source))
    return rows


def _unibench(key: str) -> list[Row]:
    """The rows of a set from its column in the main table of AffectGPT."""
    if key not in _UNIBENCH:
        return []
    metric = {'ov_merd_plus': 'F', MEAN: 'mean'}.get(key, 'waf' if key in _WAF else 'hit')
    rows = []
    for line in _UNIBENCH_ROWS.strip().splitlines():
        system, inputs, *scores = line.split()
        percent = float(scores[_UNIBENCH.index(key)])
        rows.append(Row(system, inputs, metric, percent, _AFFECTGPT))
    return rows
