"""The HTTP client: where it goes, what it carries, what it puts up with."""

from __future__ import annotations

import gc
import gzip
import logging
import socket
import ssl
import threading
import time
import traceback
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from connectors.egress import Budget, Egress, Limits, redacted, retry_after_s
from schemas.errors import (
    AccessDenied,
    Cancelled,
    CuttingRoomError,
    DiskFull,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    TooLarge,
)
from schemas.media import ByteRange
from tests.connectors.loopback import Loopback, Request, loopback, reply, trickle

QUICK = Limits(
    connect_timeout_s=2,
    idle_timeout_s=0.4,
    header_timeout_s=0.6,
    total_timeout_s=3,
    min_rate=1000,
    rate_window_s=0.5,
)
NAMES = {
    "public.example": ["93.184.215.14"],
    "localhost": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "mixed.example": ["93.184.215.14", "10.0.0.1"],
    "v6.example": ["::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
}


def fake_resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    """Listed names as listed; numbers as the system reads them; nothing leaves this machine."""
    found = NAMES.get(host, [host])
    flags = socket.AI_NUMERICHOST
    return [
        info
        for address in found
        for info in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)
    ]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback() as running:
        yield running


@pytest.fixture
def egress() -> Iterator[Egress]:
    client = Egress(allow_cidrs=["127.0.0.1/32"], limits=QUICK)
    yield client
    client.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://127.0.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://017700000001:{port}/",
        "http://127.255.255.254:{port}/",
        "http://0:{port}/",
        "http://0.0.0.0:{port}/",
        "http://0.1.2.3:{port}/",
        "http://10.0.0.1:{port}/",
        "http://172.16.0.1:{port}/",
        "http://172.31.255.255:{port}/",
        "http://192.168.1.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.170.2/v2/credentials",
        "http://0xa9fea9fe/",
        "http://100.64.0.1/",
        "http://100.100.100.200/latest/meta-data/",
        "http://168.63.129.16/",
        "http://192.0.0.192/opc/v1/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://203.0.113.9/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]:{port}/",
        "http://[::1]:{port}/",
        "http://[0:0:0:0:0:0:0:1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[::127.0.0.1]:{port}/",
        "http://[::ffff:0:127.0.0.1]:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://[64:ff9b:1::a00:1]:{port}/",
        "http://[2002:7f00:1::]:{port}/",
        "http://[2001:0:7f00:1::]:{port}/",
        "http://[2001:db8::1]:{port}/",
        "http://[fe80::1]:{port}/",
        "http://[fe80::1%25lo]:{port}/",
        "http://[::1%25lo]:{port}/",
        "http://[fec0::1]:{port}/",
        "http://[fc00::1]:{port}/",
        "http://[fd00:ec2::254]/",
        "http://[ff02::1]:{port}/",
        "http://localhost:{port}/",
        "http://localhost.:{port}/",
        "http://LOCALHOST:{port}/",
        "http://metadata.google.internal/",
        "http://mixed.example:{port}/",
        "http://v6.example:{port}/",
        "http://mapped.example:{port}/",
        "http://127.0.0.1.nip.example:{port}/",
        "http://public.example@127.0.0.1:{port}/",
        "http://public.example:80@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@public.example/",
        "http://127.0.0.1:{port}?@public.example/",
        "http://127.0.0.1:{port}\\@public.example/",
        "http://public.example\\@127.0.0.1:{port}/",
        "http://127\u30020\u30020\u30021:{port}/",
        "http://\u2460\u2461\u2466.0.0.1:{port}/",
        "http://%31%32%37.0.0.1:{port}/",
        "http:\\\\127.0.0.1:{port}\\",
        "http:///127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\r\nHost: public.example/",
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}/",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/_GET",
        "dict://127.0.0.1:{port}/",
        "data:text/plain,hello",
        "jar:http://127.0.0.1:{port}/!/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "",
    ],
)
def test_no_spelling_of_an_inner_address_is_connected_to(url: str, server: Loopback) -> None:
    client = Egress(resolve=fake_resolve, limits=QUICK)

    with pytest.raises((AccessDenied, SourceNotFound)):
        client.get_bytes(url.format(port=server.port), max_bytes=100)

    assert server.connections == 0


def test_an_open_and_a_closed_port_look_the_same(server: Loopback) -> None:
    client = Egress(limits=QUICK)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]

    with pytest.raises(AccessDenied) as at_open:
        client.get_bytes(server.url(), max_bytes=100)
    with pytest.raises(AccessDenied) as at_closed:
        client.get_bytes(f"http://127.0.0.1:{closed_port}/", max_bytes=100)

    assert str(at_open.value) == str(at_closed.value)


def test_a_name_is_judged_again_at_every_connection(server: Loopback) -> None:
    answers = iter(["127.0.0.1", "127.0.0.2"])

    def rebinding(host: str, port: int) -> list[tuple[Any, ...]]:
        return list(socket.getaddrinfo(next(answers), port, type=socket.SOCK_STREAM))

    client = Egress(allow_cidrs=["127.0.0.1/32"], resolve=rebinding, limits=QUICK)
    server.answers["/"] = lambda conn, _: conn.sendall(reply(b"ok"))
    url = f"http://rebound.example:{server.port}/"

    first = client.get_bytes(url, max_bytes=100)
    with pytest.raises(AccessDenied):
        client.get_bytes(url, max_bytes=100)

    assert first.data == b"ok"
    assert server.requests[0].headers["host"] == f"rebound.example:{server.port}"
    client.close()


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/",
        "http://[::1]:{port}/",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "//127.0.0.2:{port}/",
        "ftp://127.0.0.1/",
    ],
)
def test_a_redirect_is_judged_like_a_first_request(
    target: str, server: Loopback, egress: Egress
) -> None:
    location = target.format(port=server.port)
    server.answers["/"] = reply(status="302 Found", Location=location)

    with pytest.raises(AccessDenied):
        egress.get_bytes(server.url(), max_bytes=100)

    assert server.connections == 1


def test_five_redirects_are_followed_and_six_are_not(server: Loopback, egress: Egress) -> None:
    for step in range(1, 7):
        server.answers[f"/{step}"] = reply(status="302 Found", Location=f"/{step - 1}")
    server.answers["/0"] = reply(b"here")

    found = egress.get_bytes(server.url("/5"), max_bytes=100)
    with pytest.raises(SourceUnavailable):
        egress.get_bytes(server.url("/6"), max_bytes=100)

    assert (found.data, found.url) == (b"here", server.url("/0"))


def test_credentials_stay_with_their_origin(server: Loopback, egress: Egress) -> None:
    given = {"Authorization": "Bearer s3cret", "X-Custom": "s3cret", "Accept": "text/plain"}
    with loopback() as other:
        server.answers["/here"] = reply(status="307 Temporary Redirect", Location="/there")
        server.answers["/there"] = reply(status="302 Found", Location=other.url("/away"))
        other.answers["/away"] = reply(b"ok")

        egress.get_bytes(server.url("/here"), max_bytes=100, headers=given)

        assert [r.headers["authorization"] for r in server.requests] == ["Bearer s3cret"] * 2
        assert "s3cret" not in str(other.requests)
        assert other.requests[0].headers["accept"] == "text/plain"


def test_cookies_are_not_kept(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = reply(b"ok", Set_Cookie="who=tenant1")

    for _ in range(2):
        egress.get_bytes(server.url(), max_bytes=100)

    assert "cookie" not in server.requests[1].headers


def test_proxies_and_netrc_of_the_environment_are_ignored(
    server: Loopback, egress: Egress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.answers["/"] = reply(b"ok")

    found = egress.get_bytes(server.url(), max_bytes=100)

    assert found.data == b"ok"
    assert "authorization" not in server.requests[0].headers


def test_connections_are_kept_alive(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = reply(b"ok")

    for _ in range(5):
        egress.get_bytes(server.url(), max_bytes=100)

    assert (len(server.requests), server.connections) == (5, 1)


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_thread_that_ends_takes_its_connections_with_it(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = reply(b"ok")
    before = _open_files()

    for _ in range(10):
        thread = threading.Thread(target=lambda: egress.get_bytes(server.url(), max_bytes=10))
        thread.start()
        thread.join()
    gc.collect()

    deadline = time.monotonic() + 5
    while _open_files() > before + 2 and time.monotonic() < deadline:
        gc.collect()
    assert server.connections == 10
    assert _open_files() <= before + 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", AccessDenied),
        ("403 Forbidden", AccessDenied),
        ("404 Not Found", SourceNotFound),
        ("410 Gone", SourceNotFound),
        ("416 Range Not Satisfiable", SourceNotFound),
        ("429 Too Many Requests", RateLimited),
        ("500 Internal Server Error", SourceUnavailable),
        ("503 Service Unavailable", SourceUnavailable),
        ("204 No Content", SourceUnavailable),
        ("304 Not Modified", SourceUnavailable),
        ("418 I'm a teapot", SourceUnavailable),
    ],
)
def test_statuses_mean_what_to_do(
    status: str, error: type[CuttingRoomError], server: Loopback, egress: Egress
) -> None:
    server.answers["/"] = reply(status=status, Retry_After="7")

    with pytest.raises(error) as raised:
        egress.get_bytes(server.url("/?sig=s3cret"), max_bytes=100)

    assert "s3cret" not in str(raised.value)
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("99999999999999", 3600.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 100.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("-5", None),
        ("\u0665", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(
    text: str | None, seconds: float | None
) -> None:
    assert retry_after_s(text, 0.0) == seconds


def _chunked(*parts: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"x" * 101), TooLarge),
        (_chunked(b"65\r\n", b"x" * 101, b"\r\n0\r\n\r\n"), TooLarge),
        (reply(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip"), TooLarge),
        (reply(b"short", length=100), SourceUnavailable),
        (_chunked(b"5\r\nhello\r\n"), SourceUnavailable),
        (_chunked(b"zz\r\nhello\r\n"), SourceUnavailable),
        (_chunked(b"1" * 200_000), SourceUnavailable),
        (_chunked(b"-5\r\nhello\r\n0\r\n\r\n"), SourceUnavailable),
        (_chunked(b"-1\r\nhello\r\n0\r\n\r\n"), SourceUnavailable),
        (reply(gzip.compress(b"hello")[:-9], Content_Encoding="gzip"), SourceUnavailable),
        (reply(b"not gzip at all", Content_Encoding="gzip"), SourceUnavailable),
        (reply(b"?", Content_Encoding="br"), SourceUnavailable),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n", CuttingRoomError),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 30_000 + b"\r\n", CuttingRoomError),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, CuttingRoomError),
        (b"\xff\xfe\x00nonsense\r\n\r\n", SourceUnavailable),
        (b"", SourceUnavailable),
        (reply(status="302 Found", Location="http://[bad/"), SourceUnavailable),
    ],
    ids=[
        "too long",
        "too long in chunks",
        "gzip bomb",
        "truncated",
        "truncated in chunks",
        "chunk size is no number",
        "chunk size without end",
        "chunk size is negative",
        "chunk size means everything",
        "truncated gzip",
        "no gzip",
        "unasked encoding",
        "one huge header",
        "many headers",
        "continue for ever",
        "no http",
        "nothing",
        "redirect to nonsense",
    ],
)
def test_hostile_answers_end_as_errors_of_ours(
    answer: bytes, error: type[CuttingRoomError], server: Loopback, egress: Egress
) -> None:
    server.answers["/"] = lambda conn, _: conn.sendall(answer)

    with pytest.raises(error):
        egress.get_bytes(server.url(), max_bytes=100)


@pytest.mark.parametrize("wbits", [15, -15], ids=["zlib", "bare"])
def test_deflate_is_undone(server: Loopback, egress: Egress, wbits: int) -> None:
    text = b"guide " * 100_000
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(text) + packer.flush()
    server.answers["/"] = reply(packed, Content_Encoding="deflate")

    answer = egress.request("GET", server.url("/"), max_bytes=len(text))

    assert answer.data == text


def test_gzip_is_undone(server: Loopback, egress: Egress) -> None:
    text = b"#EXTM3U\n" * 100_000
    server.answers["/"] = reply(gzip.compress(text), Content_Encoding="gzip")

    assert egress.get_bytes(server.url(), max_bytes=len(text)).data == text


def test_headers_that_trickle_end(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = trickle(b"HTTP/1.1 200 OK\r\nX: ", b"x", server)

    with pytest.raises(SourceUnavailable, match="no answer within"):
        egress.get_bytes(server.url(), max_bytes=100)


def test_a_body_that_trickles_ends(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = trickle(reply(length=10_000), b"x", server)

    with pytest.raises(Stalled):
        egress.get_bytes(server.url(), max_bytes=10_000)


def test_a_body_that_stops_ends(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = trickle(reply(b"hello", length=100), b"", server)

    with pytest.raises(Stalled):
        egress.get_bytes(server.url(), max_bytes=100)


def test_control_ends_a_wait_for_bytes(server: Loopback, egress: Egress) -> None:
    asked = []

    def control() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise Cancelled("somebody cancelled")

    server.answers["/"] = trickle(reply(b"hello", length=100), b"", server)

    with pytest.raises(Cancelled):
        egress.get_bytes(server.url(), max_bytes=100, control=control)


def test_a_budget_counts_only_what_is_late() -> None:
    now = [0.0]
    budget = Budget(Limits(min_rate=100, rate_window_s=10), clock=lambda: now[0])
    budget.headers_done()
    for _ in range(20):
        now[0] += 1
        budget.received(100)
        budget.check()

    now[0] += 11
    budget.received(10)

    with pytest.raises(Stalled, match="under 100 a second"):
        budget.check()


def _ranged(body: bytes) -> Any:
    def script(conn: socket.socket, request: Request) -> None:
        first, last = request.headers["range"].removeprefix("bytes=").split("-")
        part = body[int(first) : int(last) + 1]
        told = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        conn.sendall(reply(part, "206 Partial Content", Content_Range=told))

    return script


def test_a_range_is_what_was_asked_for(server: Loopback, egress: Egress, tmp_path: Path) -> None:
    server.answers["/"] = _ranged(b"0123456789")
    moved: list[int] = []

    done = egress.download(
        server.url(),
        tmp_path / "out",
        max_bytes=100,
        byte_range=ByteRange(offset=3, length=4),
        on_bytes=moved.append,
    )

    assert (tmp_path / "out").read_bytes() == b"3456"
    assert (done.size, done.total_size, sum(moved)) == (4, 10, 4)


def test_a_server_that_ignores_ranges_is_cut_to_size(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = reply(b"0123456789")

    found = egress.get_bytes(server.url(), max_bytes=10, byte_range=ByteRange(offset=3, length=4))

    assert found.data == b"3456"


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"3456", "206 Partial Content", Content_Range="bytes 0-3/10"),
        reply(b"3456", "206 Partial Content"),
        reply(b"345", "206 Partial Content", Content_Range="bytes 3-5/10"),
        reply(b"01234"),
    ],
    ids=["another range", "no range named", "a shorter range", "a shorter file"],
)
def test_another_range_than_asked_for_is_refused(
    answer: bytes, server: Loopback, egress: Egress
) -> None:
    server.answers["/"] = answer

    with pytest.raises(SourceUnavailable):
        egress.get_bytes(server.url(), max_bytes=10, byte_range=ByteRange(offset=3, length=4))


def test_a_failed_download_leaves_no_file(server: Loopback, egress: Egress, tmp_path: Path) -> None:
    server.answers["/"] = reply(b"hello")

    with pytest.raises(SourceUnavailable, match="5 bytes of 9"):
        egress.download(server.url(), tmp_path / "out", max_bytes=100, expected_bytes=9)
    with pytest.raises(DiskFull):
        egress.download(server.url(), tmp_path / "no" / "such", max_bytes=100)

    assert list(tmp_path.iterdir()) == []


def test_a_post_carries_its_body_and_follows_nothing(server: Loopback, egress: Egress) -> None:
    server.answers["/hook"] = reply(b"moved", "307 Temporary Redirect", Location="/elsewhere")

    answer = egress.request("POST", server.url("/hook"), data=b'{"a":1}')

    assert (answer.status, answer.data, answer.headers["location"]) == (307, b"moved", "/elsewhere")
    assert [(r.method, r.target, r.body) for r in server.requests] == [
        ("POST", "/hook", b'{"a":1}')
    ]


def test_a_redirect_with_an_endless_body_is_not_read(server: Loopback, egress: Egress) -> None:
    server.answers["/"] = reply(status="302 Found", length=10**12, Location="/there")
    server.answers["/there"] = reply(b"ok")

    assert egress.get_bytes(server.url(), max_bytes=10).data == b"ok"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x.m3u8?sig=1", "https://a.example/x.m3u8"),
        ("https://u:p@a.example:8443/b/c/x.ts#f", "https://a.example:8443/…/x.ts"),
        ("https://a.example/exp=1~hmac=ff/x.ts", "https://a.example/…/x.ts"),
        ("https://a.example/live/token=abc", "https://a.example/…/"),
        ("https://a.example/live/x.ts;jsessionid=1", "https://a.example/…/"),
        ("https://[::1", "(an unreadable URL)"),
        ("https://a.example:bad/", "(an unreadable URL)"),
    ],
)
def test_a_redacted_url_names_the_place_and_no_secret(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_secrets_reach_no_log_and_no_message(
    server: Loopback, egress: Egress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers["/ok"] = b"HTTP/1.1 200 OK\r\nbroken header\r\nContent-Length: 0\r\n\r\n"
    server.answers["/cut"] = lambda conn, _: conn.sendall(reply(b"x", length=9))
    secret = "s3cret"  # tracebacks show the lines of this test
    spoken = []

    for path in ("/ok", "/cut", "/none"):
        try:
            egress.get_bytes(
                server.url(f"{path}?token={secret}"),
                max_bytes=100,
                headers={"Authorization": f"Bearer {secret}"},
            )
        except CuttingRoomError as error:
            spoken += [repr(error), *traceback.format_exception(error)]

    assert len(spoken) > 2
    assert secret not in caplog.text + "".join(spoken)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and key for tls.example that signs itself, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tls.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("tls.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@pytest.mark.parametrize(
    ("host", "trusted", "works"),
    [
        ("tls.example", True, True),
        ("other.example", True, False),
        ("127.0.0.1", True, False),
        ("tls.example", False, False),
    ],
)
def test_tls_is_verified_by_name_though_an_address_is_connected_to(
    host: str, trusted: bool, works: bool, certificate: Path
) -> None:
    def resolve(name: str, port: int) -> list[tuple[Any, ...]]:
        return list(socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM))

    ca_file = str(certificate) if trusted else None
    client = Egress(allow_cidrs=["127.0.0.1/32"], ca_file=ca_file, resolve=resolve, limits=QUICK)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, _: names.append(name)

    with loopback(tls=context) as server:
        server.answers["/"] = reply(b"ok")
        url = f"https://{host}:{server.port}/"
        if works:
            assert client.get_bytes(url, max_bytes=10).data == b"ok"
            assert names == [host]
            assert server.requests[0].headers["host"] == f"{host}:{server.port}"
        else:
            with pytest.raises(SourceUnavailable, match="certificate"):
                client.get_bytes(url, max_bytes=10)
            assert server.requests == []
    client.close()
