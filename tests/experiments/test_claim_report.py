"""The tables and the page of the claims, of made-up results."""

import fake_claims
import pytest

from experiments.claim_charts import curves, forest, plane
from experiments.claim_report import write_report
from experiments.claim_tables import means, table, told_verdict


@pytest.fixture(scope='module')
def lines():
    return fake_claims.lines()


@pytest.fixture(scope='module')
def written(lines, tmp_path_factory):
    path = tmp_path_factory.mktemp('page') / 'claims.html'
    write_report(path, lines, fake_claims.interference())
    return path.read_text()


def of(name, lines):
    return [line for line in lines if line['table'] == name]


@pytest.mark.slow
def test_the_page_needs_no_other_file_and_shows_texts_of_answers_as_texts(written):
    assert 'http' not in written.replace('http-equiv', '') and '<script' not in written
    assert '<i>test' not in written and '&lt;i&gt;test' in written and '&lt;device&gt;' in written


@pytest.mark.slow
def test_the_page_has_every_section_for_both_tables(written):
    sections = 'Claims', 'Learning curves', 'Not confirmed', 'Protocol', 'Answers, seed 0'
    for told in sections:
        assert written.count(f'<h3>{told}') == 2, told
    assert written.count('<svg') == 7  # a forest, a plane and curves each; interference
    assert 'MER-R1 beats the baseline: confirmed' in written and '3 seeds' in written


def test_sections_without_data_are_left_out(lines, tmp_path):
    few = [line | {'examples': [], 'curves': {}} for line in of('mer_r1', lines)]
    write_report(tmp_path / 'x' / 'claims.html', few[:1])
    text = (tmp_path / 'x' / 'claims.html').read_text()
    assert (
        'EMO-R3</h2>' not in text
        and 'Interference' not in text
        and 'Learning curves' not in text
        and 'Answers' not in text
    )
    assert 'class="lead"' not in text
    assert curves('mer_r1', few) is None
    bare = [line | {'elsewhere': {}} for line in of('emo_r3', lines)]
    assert not plane('emo_r3', bare).axes[0].lines and not forest('emo_r3', []).axes[0].texts


def test_arms_are_shown_in_both_domains_and_what_a_line_lacks_is_left_blank(lines):
    shown = means('emo_r3', of('emo_r3', lines)).splitlines()
    assert 'slow accuracy away' in shown[0] and len(shown) == 2 + 10
    bare = [line | {'elsewhere': {}} for line in of('emo_r3', lines)]
    assert '|  |' in means('emo_r3', bare) and 'nan' not in means('emo_r3', bare)
    assert 'not run' in table('emo_r3', of('emo_r3', lines)[:1])


@pytest.mark.parametrize(
    ('told', 'said'),
    [
        ({'seeds': 1, 'verdict': 'confirmed'}, 'confirmed for this seed'),
        ({'seeds': 3, 'verdict': 'contradicted'}, 'contradicted'),
        (
            {'seeds': 3, 'verdict': 'undecided', 'seeds_needed': 9},
            'undecided; 9 seeds would decide',
        ),
        ({'seeds': 3, 'verdict': 'undecided', 'seeds_needed': None}, 'no number of seeds'),
    ],
)
def test_verdicts_in_words(told, said):
    assert said in told_verdict(told)
