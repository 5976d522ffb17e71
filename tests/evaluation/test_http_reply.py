"""Single requests: the wait that a reply asks for, and what its redirection tells."""

import email.utils

import pytest
from fake_endpoint import fake_endpoints

from mer_jax.evaluation import http_reply
from mer_jax.evaluation.http_reply import post, seconds_of

NOW = 1_700_000_000.25


@pytest.mark.parametrize(
    ('said', 'seconds'),
    [
        ('7', 7),
        ('0', 0),
        ('9' * 5000, 999_999_999),
        (email.utils.formatdate(1_700_000_030), 30),  # 29.75 s, and never too early
        (email.utils.formatdate(1_600_000_000), 0),
        ('', 0),
        ('-3', 0),
        ('1.5', 0),
        ('soon', 0),
        ('٣', 0),
        ('Wed, 99 Oct 2015 07:28:00 GMT', 0),
    ],
)
def test_a_wait_is_a_number_of_seconds_or_a_date(monkeypatch, said, seconds):
    monkeypatch.setattr(http_reply.time, 'time', lambda: NOW)
    assert seconds_of(said) == seconds


@pytest.mark.parametrize(
    ('target', 'named'),
    [
        ('https://evil.example/v1?key=abc', 'evil.example'),
        ('/login', 'another path'),
        ('http://[', 'another address'),
    ],
)
def test_a_redirection_names_the_host_and_nothing_else(monkeypatch, target, named):
    with fake_endpoints(monkeypatch) as opened:
        fake = opened(lambda chat: (307, 'abc', {'Location': target}))
        reply = post(f'{fake.url}/chat/completions', b'{}', {}, 5, direct=True)
    assert (reply.status, len(fake.seen)) == (307, 1)
    assert reply.text == f'redirects to {named}, which is not followed: the key would be sent on'
