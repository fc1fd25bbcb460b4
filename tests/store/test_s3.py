"""S3 under stress: what passes is waited for, what does not is told in a sentence, and secrets stay where they are."""

import os
import pickle
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from padray.errors import InfrastructureError, InputError, WorkError
from padray.store import s3 as module
from padray.store.opening import open_location
from padray.store.s3 import Patience, S3Location
from tests.swift import BUCKET, OWNER, STRANGER, point

BRIEF = Patience(unheard=1.0, heard=1.0)
SECRET = "not-to-be-told"


# -- a server of ours that answers as it is told


@dataclass(frozen=True)
class Answer:
    """What the next request gets: `cut` bytes of the body never come, `delay` seconds pass before it does."""

    status: int = 200
    body: bytes = b""
    code: str = ""
    cut: int = 0
    delay: float = 0.0

    @property
    def content(self) -> bytes:
        if self.code:
            return f"<Error><Code>{self.code}</Code><Message>{SECRET}</Message></Error>".encode()
        return self.body


@dataclass
class Scripted:
    """The answers to come (the last one for ever), and the requests that came: method, path, body."""

    answers: list[Answer]
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    def take(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def scripted(monkeypatch) -> Iterator[Scripted]:
    script = Scripted([Answer()])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.requests.append((self.command, self.path, body))
            answer = script.take()
            time.sleep(answer.delay)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content[: len(answer.content) - answer.cut])
            self.close_connection = bool(answer.cut)

        do_GET = do_PUT = do_DELETE = answer  # the names that http.server asks for

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    point(monkeypatch, environment(f"http://127.0.0.1:{server.server_port}"))
    monkeypatch.setattr(module, "_SETTINGS", module._SETTINGS.merge(module.Config(read_timeout=0.3)))
    monkeypatch.setattr(module, "wait_exponential", lambda *_, **__: module_wait)
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


def module_wait(_: object) -> float:
    """Between two tries nothing happens that a test would wait for."""
    return 0.02


def environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port on which nobody listens, nor can begin to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


PASSING = [
    Answer(body=b"0123456789", cut=4),
    Answer(500, code="InternalError"),
    Answer(503, code="SlowDown"),
    Answer(400, code="RequestTimeout"),
    Answer(delay=0.5),
]


@pytest.mark.parametrize("failure", PASSING, ids=lambda answer: answer.code or ("cut" if answer.cut else "late"))
def test_what_passes_is_tried_again_with_the_whole_object(scripted, failure):
    scripted.answers = [failure, failure, Answer(body=b"0123456789")]
    assert S3Location("s3://bucket/p").get("a/b") == b"0123456789"
    assert [request[:2] for request in scripted.requests] == [("GET", "/bucket/p/a/b")] * 3


def test_a_put_is_repeated_whole(scripted):
    scripted.answers = [Answer(500, code="InternalError"), Answer()]
    S3Location("s3://bucket").put("a", b"content")
    assert len(scripted.requests) == 2
    assert all(request[:2] == ("PUT", "/bucket/a") and b"content" in request[2] for request in scripted.requests)


@pytest.mark.parametrize(
    "answer, told",
    [
        (
            Answer(507, code="InsufficientStorage"),
            "it is full or over its quota (InsufficientStorage); make room there",
        ),
        (Answer(507), "it is full or over its quota (507)"),
        (Answer(413, code="QuotaExceeded"), "it is full or over its quota (QuotaExceeded)"),
        (
            Answer(403, code="AccessDenied"),
            "it is denied; these credentials need the rights to list, read, write and del",
        ),
        (
            Answer(403, code="InvalidAccessKeyId"),
            "the credentials are refused (InvalidAccessKeyId); check AWS_ACCESS_KEY",
        ),
        (Answer(400, code="ExpiredToken"), "the credentials are refused (ExpiredToken)"),
        (Answer(404, code="NoSuchBucket"), "there is no bucket bucket; create it, or correct its name"),
        (Answer(400, code="InvalidBucketName"), "bucket is no bucket's name; correct it"),
        (Answer(403, code="RequestTimeTooSkewed"), "this machine's clock differs from that of http://127.0.0.1:"),
        (Answer(400, code="Whatever"), "it fails with Whatever; check the AWS settings of this process"),
        (Answer(501, code="NotImplemented"), "it fails with NotImplemented"),
    ],
)
def test_what_does_not_pass_is_told_at_once_in_our_own_words(scripted, answer, told):
    scripted.answers = [answer]
    full = told.startswith("it is full")
    with pytest.raises(InfrastructureError if full else InputError) as caught:
        S3Location("s3://bucket/p").put("a", b"x")
    assert str(caught.value).startswith(f"cannot write to the storage s3://bucket/p: {told}")
    assert SECRET not in str(caught.value) and caught.value.__suppress_context__
    assert len(scripted.requests) == 1


def test_a_server_that_never_answers_is_bad_input_and_one_that_is_lost_later_failed_work(scripted):
    location = S3Location("s3://bucket", Patience(unheard=0.2, heard=1.0))
    scripted.answers = [Answer(delay=0.5)]
    with pytest.raises(InputError, match=r"127\.0\.0\.1:\d+ does not answer \(ReadTimeoutError\); check AWS_ENDPOINT"):
        location.put("a", b"x")
    scripted.answers = [Answer()]
    location.put("a", b"x")
    scripted.answers = [Answer(503, code="SlowDown")]
    before = len(scripted.requests)
    with pytest.raises(
        WorkError,
        match=r"no longer works \(SlowDown; it may be full, or too busy\); what is finished is kept, and the same",
    ):
        S3Location("s3://bucket", location.patience).put("a", b"x")  # another location of the same process knows it too
    assert len(scripted.requests) - before > 5


def test_a_listing_of_several_pages_is_one_list_without_folder_markers(scripted):
    def page(names: list[str], token: str) -> Answer:
        items = "".join(f"<Contents><Key>p/{name}</Key><Size>{len(name)}</Size></Contents>" for name in names)
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return Answer(body=f"<ListBucketResult>{more}{items}</ListBucketResult>".encode())

    scripted.answers = [page(["bb", "sub/"], "next"), page(["a", "sub//x"], "")]
    assert S3Location("s3://bucket/p").sizes("") == {"a": 1, "bb": 2}
    assert "prefix=p%2F&" in scripted.requests[0][1] and "continuation-token=next" in scripted.requests[1][1]


@pytest.mark.parametrize(
    "changed, told",
    [
        (
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:{port}"},
            r"http://127\.0\.0\.1:\d+ cannot be reached; check AWS_ENDPOINT_URL_S3 and the network",
        ),
        ({"AWS_ENDPOINT_URL_S3": f"http://key:{SECRET}@127.0.0.1:{{port}}"}, r"http://127\.0\.0\.1:\d+ cannot"),
        ({"AWS_ENDPOINT_URL_S3": SECRET}, "the endpoint is not a URL; correct AWS_ENDPOINT_URL_S3"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "there are no credentials; set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "there are no credentials; set AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, "there is no such AWS profile; correct AWS_PROFILE"),
    ],
)
def test_settings_that_reach_no_store_are_told(monkeypatch, nowhere, changed, told):
    point(monkeypatch, environment("http://127.0.0.1:9"))
    for name, value in changed.items():
        monkeypatch.setenv(name, value.format(port=nowhere)) if value else monkeypatch.delenv(name)
    began = time.monotonic()
    with pytest.raises(InputError, match=rf"^cannot list the storage s3://bucket/p: {told}") as caught:
        S3Location("s3://bucket/p", BRIEF).keys("")
    assert SECRET not in str(caught.value) and time.monotonic() - began < 10


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///p", "s3://b", "s3://my bucket/p", "s3://bucket/../p", "s3://bucket//p"]
)
def test_a_uri_that_names_no_place_is_refused(uri):
    with pytest.raises(InputError, match=r"cannot be used: .* no bucket's name; write s3://bucket/prefix|is not a key"):
        open_location(uri)


@pytest.mark.parametrize("uri", [f"s3://key:{SECRET}@bucket/p", f"s3://bucket/p?secret_key={SECRET}"])
def test_a_uri_that_may_hold_a_secret_is_not_repeated(uri):
    with pytest.raises(InputError, match=r"endpoint and credentials belong into AWS_… variables") as caught:
        open_location(uri)
    assert SECRET not in str(caught.value)


def test_a_store_with_a_name_of_its_own_is_asked_for_paths_not_for_a_host_of_each_bucket(scripted, monkeypatch):
    named = os.environ["AWS_ENDPOINT_URL_S3"].replace("127.0.0.1", "localhost")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", named)
    S3Location("s3://bucket/p", BRIEF).put("a", b"x")
    assert scripted.requests[0][1] == "/bucket/p/a"


def test_a_bucket_itself_can_be_the_root(scripted):
    location = open_location("s3://bucket/")
    assert location.uri == "s3://bucket" and location.put("a", b"x") is None
    assert scripted.requests[0][1] == "/bucket/a"


def test_a_pickle_holds_the_place_and_nothing_that_opens_it(scripted):
    location = S3Location("s3://bucket/p", BRIEF)
    location.put("a", b"x")
    content = pickle.dumps(location)
    assert b"bucket/p" in content and SECRET.encode() not in content and b"127.0.0.1" not in content
    again = pickle.loads(content)
    assert again.patience == BRIEF and again.put("a", b"x") is None
    assert [request[1] for request in scripted.requests] == ["/bucket/p/a"] * 2


def test_a_worker_that_starts_while_the_store_is_down_waits_as_long_as_who_sent_it(scripted, monkeypatch):
    location = S3Location("s3://bucket", Patience(unheard=0.0, heard=5.0))
    unheard = pickle.dumps(location)
    location.put("a", b"x")
    heard = pickle.dumps(location)
    monkeypatch.setattr(module, "_HEARD", set())  # as in a new process
    scripted.answers = [Answer(delay=0.5), Answer(delay=0.5), Answer(body=b"content")]  # at first it does not answer
    assert pickle.loads(pickle.dumps(pickle.loads(heard))).get("a") == b"content"
    monkeypatch.setattr(module, "_HEARD", set())
    scripted.answers = [Answer(delay=0.5)]
    with pytest.raises(InputError, match=r"does not answer \(ReadTimeoutError\); check AWS_ENDPOINT_URL_S3"):
        pickle.loads(unheard).get("a")
    with pytest.raises(WorkError, match=r"no longer works \(ReadTimeoutError\); what is finished is kept"):
        S3Location("s3://bucket", Patience(0.0, 0.3), heard=True).get("a")


# -- a real server


@pytest.mark.s3
def test_a_large_object_goes_up_in_parts(s3, monkeypatch):
    location, content = s3.location(), secrets.token_bytes(11 << 20)
    monkeypatch.setattr(module, "SINGLE_PUT", 6 << 20)
    monkeypatch.setattr(module, "PART", 5 << 20)
    location.put("large", content)
    location.put("small", content[: 6 << 20])
    location.put("pieces", (memoryview(content[:100]), memoryview(b""), memoryview(content[100:])))
    assert location.get("pieces") == content
    assert location.get("large") == content and location.size("large") == len(content)
    assert location.get_range("large", (5 << 20) - 2, 4) == content[(5 << 20) - 2 : (5 << 20) + 2]
    parts = [
        location.client().head_object(**location._place(key))["ETag"].strip('"') for key in ("large", "pieces", "small")
    ]
    assert all(part.endswith("-3") for part in parts[:2]) and "-" not in parts[2]


@pytest.mark.s3
def test_a_put_that_fails_half_way_leaves_what_was_there(s3, monkeypatch):
    location = s3.location()
    location.put("a", b"old")
    monkeypatch.setattr(module, "SINGLE_PUT", 1)
    monkeypatch.setattr(module, "PART", 5 << 20)

    def fail(**_: object) -> None:
        raise KeyboardInterrupt

    location.client().meta.events.register("before-call.s3.UploadPart", fail)
    for key in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            location.put(key, bytes(11 << 20))
    assert location.keys("") == ["a"] and location.get("a") == b"old"
    assert not location.client().list_multipart_uploads(Bucket=BUCKET, Prefix=location.prefix).get("Uploads")


@pytest.mark.s3
@pytest.mark.parametrize(
    "who, bucket, told",
    [
        ((OWNER[0], SECRET), BUCKET, "the credentials are refused (SignatureDoesNotMatch)"),
        (("test:nobody", SECRET), BUCKET, "the credentials are refused ("),
        (STRANGER, BUCKET, "it is denied; these credentials need the rights"),
        (OWNER, "no-such-bucket", "there is no bucket no-such-bucket; create it, or correct its name"),
    ],
)
def test_a_real_server_refuses_what_is_not_allowed(s3, monkeypatch, who, bucket, told):
    point(monkeypatch, s3.server.environment(who))
    location = S3Location(f"s3://{bucket}/p")
    acts = [
        ("list", lambda: location.keys("")),
        ("write to", lambda: location.put("a", b"x")),
        ("read a in", lambda: location.get("a")),
    ]
    for doing, act in acts:
        with pytest.raises(InputError) as caught:
            act()
        assert str(caught.value).startswith(f"cannot {doing} the storage s3://{bucket}/p: {told}")
        assert SECRET not in str(caught.value)


@pytest.mark.s3
def test_two_roots_in_one_bucket_do_not_see_each_other(s3):
    one, two = s3.location(), s3.location()
    beside = S3Location(f"{one.uri}0")
    for place, content in ((one, b"1"), (two, b"2"), (beside, b"3")):
        place.put("a", content)
    assert [place.get("a") for place in (one, two, beside)] == [b"1", b"2", b"3"]
    assert one.keys("") == two.keys("") == beside.keys("") == ["a"]


@pytest.mark.s3
def test_threads_share_a_location(s3):
    location = s3.location()

    def work(number: int) -> bytes:
        location.put(f"a/{number}", b"%d" % number)
        return location.get(f"a/{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [b"%d" % number for number in range(24)]


@pytest.mark.s3
def test_a_server_that_is_killed_and_started_again_costs_nothing_but_time(s3):
    location, contents = s3.location(), [secrets.token_bytes(1 << 20) for _ in range(12)]
    location.put("before", contents[0])
    begun = threading.Event()

    def work(number: int) -> bytes:
        if number == 4:
            begun.set()
        location.put(f"a/{number}", contents[number])
        return location.get(f"a/{number}")

    with ThreadPoolExecutor(2) as pool:
        done = pool.map(work, range(len(contents)))
        begun.wait(60)
        s3.server.kill()
        with pytest.raises(WorkError, match=r"no longer works \(EndpointConnectionError\)"):
            S3Location(location.uri, BRIEF).get("before")
        s3.server.start()
        assert list(done) == contents
    assert location.get("before") == contents[0] and len(location.keys("a")) == len(contents)


@pytest.mark.s3
@pytest.mark.chaos
def test_a_server_that_hangs_for_a_while_costs_nothing_but_time(s3):
    location = s3.location()
    location.put("a", b"x")
    s3.server.freeze()
    thaw = threading.Timer(20, s3.server.thaw)
    thaw.start()
    began = time.monotonic()
    assert location.get("a") == b"x" and location.put("b", b"y") is None
    assert 18 < time.monotonic() - began < 60
    thaw.join()
    assert location.get("b") == b"y"


@pytest.mark.s3
@pytest.mark.chaos
def test_a_misspelt_endpoint_is_told_within_seconds(monkeypatch, nowhere):
    point(monkeypatch, environment(f"http://127.0.0.1:{nowhere}"))
    began = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached"):
        open_location("s3://bucket/p").put("a", b"x")
    assert 3 < time.monotonic() - began < 14
