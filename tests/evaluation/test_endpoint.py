"""Endpoints: asked again while busy, refused if unsafe, and their key never shown."""

import dataclasses

import pytest
from fake_endpoint import KEY, RESET, Drip, fake_endpoints

from mer_jax.evaluation import endpoint, http_reply
from mer_jax.evaluation.endpoint import Endpoint, Refused, ask

SAID = 'I agree.'


@pytest.fixture
def opened(monkeypatch):
    with fake_endpoints(monkeypatch) as open_endpoint:
        yield open_endpoint


@pytest.mark.parametrize('status', [408, 429, 500, 503])
def test_a_busy_endpoint_is_asked_again(opened, status):
    replies = iter([(status, 'busy', {'Retry-After': '0'}), (status, '', {}), SAID])
    fake = opened(lambda chat: next(replies))
    assert ask(fake.endpoint, []) == SAID
    assert len(fake.seen) == 3


def test_an_endpoint_may_ask_for_a_longer_wait_up_to_a_bound(opened, monkeypatch):
    waits, pauses = iter(['7', '99999', 'Wed, 21 Oct 2015', '-3']), []
    monkeypatch.setattr(endpoint, 'PAUSES', (1, 2, 4, 8))
    monkeypatch.setattr(endpoint.random, 'random', lambda: 0.5)
    fake = opened(lambda chat: (429, '', {'Retry-After': next(waits, '1')}))
    with pytest.raises(ConnectionError, match='HTTP 429'):
        ask(fake.endpoint, [], pauses.append)
    assert pauses == [7, endpoint.LONGEST_PAUSE, 5, 10]


def test_pauses_grow_and_differ_by_chance(opened, monkeypatch):
    monkeypatch.setattr(endpoint, 'PAUSES', (1, 2, 4))
    fake, pauses = opened(lambda chat: (503, '', {})), []
    for _ in range(2):
        with pytest.raises(ConnectionError):
            ask(fake.endpoint, [], pauses.append)
    assert all(
        least <= pause <= 1.5 * least for least, pause in zip((1, 2, 4) * 2, pauses, strict=True)
    )
    assert len(set(pauses)) == 6


@pytest.mark.parametrize(
    ('reply', 'tries', 'reason'),
    [
        ((401, f'wrong key {KEY}', {}), 1, r"HTTP 401: 'wrong key \[key\]'"),
        ((404, 'no model', {}), 1, "HTTP 404: 'no model'"),
        ((500, 'down', {}), 3, "HTTP 500: 'down'"),
        ((200, f'<html>{KEY}', {}), 3, r"replies '<html>\[key\]', which is no chat completion"),
        ((200, '[' * 100_000, {}), 3, 'no chat completion'),
        ((200, '{"choices": []}', {}), 3, 'no chat completion'),
        ((200, '{"cho', {'Content-Length': '900'}), 3, 'the reply was cut off after 5 bytes'),
    ],
)
def test_a_failing_endpoint_raises_an_error_with_the_reason_and_without_the_key(
    opened, reply, tries, reason
):
    fake = opened(lambda chat: reply)
    with pytest.raises(ConnectionError, match=reason) as raised:
        ask(fake.endpoint, [])
    assert len(fake.seen) == tries and KEY not in str(raised.value)


@pytest.mark.parametrize(
    'first',
    [
        (200, 'not JSON', {}),
        (200, '{"choices": [{"mess', {'Content-Length': '900'}),
        (200, '', {}),
        RESET,
    ],
)
def test_a_reply_that_is_garbage_or_cut_or_none_is_asked_for_again(opened, first):
    replies = iter([first, SAID])
    fake = opened(lambda chat: next(replies))
    assert ask(fake.endpoint, []) == SAID and len(fake.seen) == 2


@pytest.mark.parametrize('begin', ['', 'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n'])
def test_a_reply_that_drips_is_given_up_after_the_time_of_a_whole_reply(opened, begin):
    # A byte each 0.05 s, as part of the headers or of the body: no single read waits long.
    fake = opened(lambda chat: Drip(begin))
    slow = dataclasses.replace(fake.endpoint, seconds=0.3)
    with pytest.raises(
        ConnectionError, match='127.0.0.1 cannot be asked: no whole reply after 0.3'
    ):
        ask(slow, [])
    assert len(fake.seen) == 3


def test_a_reply_beyond_the_limit_is_refused_and_not_held(opened, monkeypatch):
    monkeypatch.setattr(http_reply, 'MOST_BYTES', 1000)
    fake = opened(lambda chat: (200, 'x' * 100_000, {}))
    with pytest.raises(Refused, match='HTTP 200: a reply of more than'):
        ask(fake.endpoint, [])
    assert len(fake.seen) == 1
    fake.reply = lambda chat: 'x' * 900
    assert ask(fake.endpoint, []) == 'x' * 900


def test_an_unreachable_endpoint_is_tried_again_and_named(opened):
    fake = opened(lambda chat: SAID)
    fake.server.server_close()
    with pytest.raises(ConnectionError, match='127.0.0.1 cannot be asked: .*refused'):
        ask(fake.endpoint, [])


def test_a_redirection_is_not_followed(opened):
    other = opened(lambda chat: SAID)
    fake = opened(lambda chat: (302, '', {'Location': other.url}))
    with pytest.raises(ConnectionError, match="HTTP 302: 'redirects to 127.0.0.1, which is not fo"):
        ask(fake.endpoint, [])
    assert not other.seen and len(fake.seen) == 1


@pytest.mark.parametrize('seconds', [0.0, -1.0, 1e9, float('nan')])
def test_a_time_limit_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(ValueError, match=f'judge.seconds={seconds}: must be above 0'):
        Endpoint('https://host/v1', 'referee', '', seconds)


def test_no_proxy_is_used_for_this_machine(opened, monkeypatch):
    other, fake = opened(lambda chat: SAID), opened(lambda chat: SAID)
    monkeypatch.setenv('http_proxy', other.url)
    monkeypatch.delenv('no_proxy', raising=False)
    assert ask(fake.endpoint, []) == SAID and not other.seen


@pytest.mark.parametrize(
    ('url', 'part'),
    [
        ('http://judge.example/v1', 'judge.endpoint=http://judge.example…: would send'),
        ('http://localhost.example/v1', 'judge.endpoint=http://localhost.example…'),
        ('http://127.0.0.1.example', 'judge.endpoint=http://127.0.0.1.example…'),
        ('ftp://localhost/v1', 'judge.endpoint: must be https://HOST/PATH'),
        (f'https://me:{KEY}@host/v1', 'judge.endpoint: must be'),
        (f'https://host/v1?key={KEY}', 'judge.endpoint: must be'),
        ('https://host/v1\n', 'judge.endpoint: must be'),
        ('host/v1', 'judge.endpoint: must be'),
    ],
)
def test_addresses_without_https_elsewhere_and_with_secrets_are_refused(url, part):
    with pytest.raises(ValueError) as raised:
        Endpoint(url, 'referee', '')
    assert part in str(raised.value) and KEY not in str(raised.value)


@pytest.mark.parametrize('url', ['https://host', 'http://localhost:8000/v1/', 'http://[::1]:8/v1'])
def test_https_and_this_machine_are_allowed(url):
    assert Endpoint(url, 'referee', '').host in ('host', 'localhost', '[::1]')


def test_an_endpoint_without_a_model_is_refused_by_the_key_of_the_config():
    with pytest.raises(ValueError, match="judge.model='': name the model to ask at host"):
        Endpoint('https://host/v1', '', '')


def test_a_key_in_place_of_its_name_is_refused_and_not_shown(monkeypatch):
    with pytest.raises(ValueError, match='judge.key: must be the name of an environment') as raised:
        Endpoint('https://host/v1', 'referee', KEY)
    assert KEY not in str(raised.value)
    monkeypatch.setenv('TEST_JUDGE_KEY', f'{KEY}\n{KEY}')
    with pytest.raises(ValueError, match="judge.key='TEST_JUDGE_KEY'") as raised:
        Endpoint('https://host/v1', 'referee', 'TEST_JUDGE_KEY')
    assert KEY not in str(raised.value)


def test_without_a_key_none_is_sent(opened, monkeypatch):
    fake = opened(lambda chat: SAID)
    monkeypatch.delenv('TEST_JUDGE_KEY')
    ask(fake.endpoint, [])
    assert 'Authorization' not in fake.seen[0][1]
