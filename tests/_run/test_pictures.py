"""Pictures: files, bytes and URLs to what is sent; a fetch reaches nothing but the open internet."""

import contextlib
import http.server
import os
import socket
import ssl
import threading

import pytest
import trustme

from dfllm._core.images import MOST_BYTES, Unfit, data_url
from dfllm._run.pictures import Pictures, is_public, resolved

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
READ = Pictures(fetch=False)


def read(cell, pictures=READ):
    """Return what one cell gives: its images, or the text of its failure."""
    try:
        return tuple(pictures.one(one) for one in (cell if isinstance(cell, list) else [cell]))
    except Unfit as error:
        return f"BadInput: {error} in column 'photo'"


class Drawn:
    """A picture as Pillow has them."""

    def getbands(self):
        return ("R",)

    def save(self, place, kind):
        place.write(PNG + kind.encode())


def test_files_bytes_and_pictures_are_sent_as_bytes(tmp_path):
    """However an image is held, its bytes go out, and a list gives several."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)

    found = [read(cell) for cell in (path, str(path), PNG, bytearray(PNG), [PNG, str(path)])]

    assert [(data_url(PNG),)] * 4 + [(data_url(PNG), data_url(PNG))] == found
    assert (data_url(PNG + b"PNG"),) == read(Drawn())


def test_address_is_passed_on_and_never_fetched(monkeypatch):
    """Nobody is asked anything, not even the name server."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    url = "https://images.example.com/a.png?size=2"

    assert (url,) == read(url)


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("/etc/passwd", "BadInput: no PNG, JPEG, GIF or WebP image in column 'photo'"),
        ("no/such.png", "BadInput: image file cannot be read: No such file or directory in column 'photo'"),
        ("a\0b", "BadInput: no path, URL or image in column 'photo'"),
        (".", "BadInput: image file cannot be read: Is a directory in column 'photo'"),
        ("http://169.254.169.254/latest/meta-data/", "BadInput: address not allowed: images are"),
        (7, "BadInput: int is no image, path or URL in column 'photo'"),
        ([PNG, {}], "BadInput: dict is no image, path or URL in column 'photo'"),
    ],
    ids=["secret", "missing", "nul", "folder", "metadata", "number", "one of two"],
)
def test_what_cannot_go_out_says_why(cell, error):
    """The row's error names the column, and never what is in the cell or the file."""
    assert read(cell).startswith(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipe_is_not_waited_for(tmp_path):
    """A pipe that somebody planted would never end."""
    os.mkfifo(tmp_path / "a.png")

    assert "path that is no file" in read(tmp_path / "a.png")


def test_large_file_is_not_read(tmp_path):
    """A file of many gigabytes costs no memory."""
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)

    assert "image of over 20 MiB" in read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.8", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1", "no address"),
    ],
)
def test_own_networks_are_not_public(address):
    """Loopback, private, link-local and cloud addresses, and those dressed up as others."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_open_internet_is_public(address):
    """What anybody can reach."""
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_fetch_reaches_nothing_here(host, monkeypatch):
    """However the address of this machine is written, nothing connects to it."""
    monkeypatch.setattr(Pictures, "_download", lambda *_: pytest.fail("connected"))

    error = read(f"https://{host}/a.png", Pictures(fetch=True))

    assert "address not allowed" in error or "its host has no address" in error


def test_fetch_is_refused_where_one_of_several_addresses_is_private():
    """A name with a public and a private address is a trick."""
    pictures = Pictures(fetch=True, resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])

    assert "address not allowed: it is not public" in read("https://example.com/a.png", pictures)


def test_only_the_usual_port_is_fetched():
    """Other ports are other services."""
    pictures = Pictures(fetch=True, resolve=lambda host, port: ["93.184.216.34"])

    assert "only port 443" in read("https://example.com:8443/a.png", pictures)


ANSWERS = {
    "/a.png": (200, {}, PNG),
    "/moved.png": (302, {"Location": "https://127.0.0.1/secret"}, b""),
    "/page": (200, {}, b"<html>"),
    "/gone.png": (404, {}, b""),
    "/huge.png": (200, {}, PNG.ljust(MOST_BYTES + 2, b"\0")),
}


@pytest.fixture(scope="module")
def site():
    """Serve ANSWERS over TLS as images.example.com; return pictures that trust it, its port, and the headers it saw."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            status, headers, body = ANSWERS[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("images.example.com").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None
    server.socket = server_side.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    pictures = Pictures(
        fetch=True, resolve=resolve, public=lambda address: address == "127.0.0.1", ports=(port,), trust=client_side
    )
    yield pictures, port, seen, asked
    server.shutdown()
    server.server_close()


def test_fetched_image_is_sent_as_its_bytes(site):
    """The host is looked up once, connected to by that address, and its certificate is for its name."""
    pictures, port, seen, asked = site
    before = len(asked)

    assert (data_url(PNG),) == read(f"https://images.example.com:{port}/a.png", pictures)
    assert ["images.example.com"] == asked[before:]
    assert {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"} == set(seen[-1])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("moved.png", "image cannot be fetched: http 302"),
        ("page", "no PNG, JPEG, GIF or WebP image"),
        ("gone.png", "image cannot be fetched: http 404"),
        ("huge.png", "image of over 20 MiB"),
    ],
)
def test_fetch_takes_images_and_nothing_else(site, path, error):
    """No redirect is followed, no page sent, and no more read than an image may have."""
    pictures, port, _, _ = site

    assert error in read(f"https://images.example.com:{port}/{path}", pictures)


def test_other_names_certificate_is_refused(site):
    """Whoever answers at that address has to be whom the URL names."""
    pictures, port, _, _ = site

    assert "image cannot be fetched: ConnectError" in read(f"https://other.example.com:{port}/a.png", pictures)


def test_host_without_an_address_says_so():
    """A name that does not resolve is the row's trouble."""

    def resolve(host, port):
        raise socket.gaierror

    assert "its host has no address" in read("https://no.example.com/a.png", Pictures(fetch=True, resolve=resolve))
    assert resolved("127.0.0.1", 443) == ["127.0.0.1"]
