"""Published rows agree with their means, their sources and docs/BENCHMARKS.md."""

import pathlib
import statistics

import pytest

from mer_jax.data.benchmarks import BENCHMARKS, EMOTION_IMAGES, IMAGES_OVERALL, published


def test_published_means_are_the_means_of_the_published_columns():
    nine = 'mer2023 mer2024 meld iemocap_four cmu_mosi cmu_mosei sims sims_v2 ov_merd_plus'.split()
    columns = [published(key)[:19] for key in nine]
    means = published('mer_unibench')[:19]
    for *row, mean in zip(*columns, means, strict=True):
        assert {(cell.system, cell.inputs) for cell in row} == {(mean.system, mean.inputs)}
        assert statistics.mean(cell.percent for cell in row) == pytest.approx(
            mean.percent, abs=0.01
        )


@pytest.mark.parametrize(
    ('key', 'system', 'metric', 'percent'),
    [
        ('mer2024', 'AffectGPT', 'hit', 78.80),
        ('sims_v2', 'Emotion-LLaMA', 'waf', 77.23),
        ('ov_merd_plus', 'AffectGPT-R1, without thinking', 'F', 68.39),
        ('ov_merd', 'Chat-UniVi', 'M_avg', 46.75),
        ('mafw', 'R1-Omni', 'UAR', 40.04),
        ('ravdess', 'R1-Omni', 'WAR', 43.00),
        ('webemo', 'EMO-R3, 4 branches', 'accuracy', 50.45),
        ('emotion6', 'SFT', 'accuracy', 34.51),
        ('emotion_images', 'EMO-R3, 8 branches', 'overall', 60.42),
        ('mme_ir', 'Gemini-2.5-Pro', 'CoT', 56.4),
        ('mer_unibench', 'MER-R1', 'mean', 83.50),
    ],
)
def test_published_rows_carry_their_metric_and_source(key, system, metric, percent):
    rows = [row for row in published(key) if (row.system, row.metric) == (system, metric)]
    assert rows[-1].percent == percent and 'arXiv' in rows[-1].source


def test_the_image_sets_and_their_overall_have_the_same_six_systems_from_notes():
    keys = (*EMOTION_IMAGES, IMAGES_OVERALL)
    systems = [[row.system for row in published(key)] for key in keys]
    assert len(systems[0]) == 6 and all(column == systems[0] for column in systems)
    assert all('from notes' in row.source for key in keys for row in published(key))


def test_the_printed_overall_is_not_the_mean_of_the_training_on_emoset():
    columns = [published(key) for key in EMOTION_IMAGES]
    means = [statistics.mean(row.percent for row in rows) for rows in zip(*columns, strict=True)]
    # Means by hand; the second and third differ from the printed 43.84 and 59.97.
    assert [round(mean, 2) for mean in means] == [47.4, 43.14, 61.4, 58.56, 62.13, 61.79]


def test_sets_without_a_published_figure_have_no_rows():
    assert published('mer2025_ov') == []
    assert all(published(key) for key in BENCHMARKS if key != 'mer2025_ov')


def test_the_document_lists_every_set_with_its_folder_count_and_published_rows():
    text = (pathlib.Path(__file__).parents[3] / 'docs' / 'BENCHMARKS.md').read_text('utf-8')
    for key, benchmark in BENCHMARKS.items():
        row = next(line for line in text.splitlines() if line.startswith(f'| `{key}` |'))
        assert f'`{benchmark.folders[0]}`' in row and f'| {benchmark.task} |' in row
        assert benchmark.count is None or f'{benchmark.count:,}' in row
        for shown in published(key):
            assert shown.system in text and f'{shown.percent:.{2 - key.startswith("mme")}f}' in text
