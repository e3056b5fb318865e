"""Images: only images go out, and only as https or data URLs."""

import base64

import pytest

from dfllm._core.images import MOST_BYTES, Unfit, address, data_url, is_address, media_type

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
KINDS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0jpeg",
    "image/gif": b"GIF89a...",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_become_a_data_url_of_their_kind(kind):
    """What the bytes are decides, not what anything calls them."""
    content = KINDS[kind]

    assert f"data:{kind};base64,{base64.b64encode(content).decode()}" == data_url(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"root:x:0:0:root",
        b"%PDF-1.7",
        b"-----BEGIN OPENSSH PRIVATE KEY-----",
        b"<svg onload=alert(1)>",
        b"RIFFxxxxWAVE",
    ],
    ids=["nothing", "passwd", "pdf", "key", "svg", "sound"],
)
def test_what_is_no_image_goes_nowhere(content):
    """A path in a cell may lead to a secret; only pictures leave."""
    with pytest.raises(Unfit, match=r"^no PNG, JPEG, GIF or WebP image$"):
        data_url(content)


def test_images_have_a_size():
    """20 MiB are sent, a byte more is not."""
    just = PNG.ljust(MOST_BYTES, b"\0")

    assert media_type(just) == "image/png"
    assert data_url(just).startswith("data:image/png;base64,")
    with pytest.raises(Unfit, match="over 20 MiB"):
        data_url(just + b"\0")


@pytest.mark.parametrize(
    "text",
    [
        "http://example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://127.0.0.1:25/",
        "https://user:word@example.com/a.png",
        "https://example.com/a b.png",
        "https://",
        "https:///a.png",
        "https://example.com/\r\nHost: x",
        'https://example.com/"><script>',
        "https://exämple.com/a.png",
        "https://example.com/" + "a" * 9000,
    ],
    ids=lambda text: text[:24],
)
def test_other_addresses_are_refused(text):
    """Plain http, files, scripts, passwords in a URL, and what is no URL at all."""
    with pytest.raises(Unfit, match=r"^address not allowed"):
        address(text)


@pytest.mark.parametrize(
    "text",
    [
        "data:text/html;base64,PGI+",
        "data:image/svg+xml;base64,PGI+",
        "data:image/png,plain",
        "data:image/png;base64,####",
        "data:image/png;base64,cm9vdDp4",
        "data:image/png;base64,A",
    ],
)
def test_data_urls_hold_images(text):
    """The bytes are looked at, whatever the URL says they are."""
    with pytest.raises(Unfit):
        address(text)


def test_the_scheme_is_written_as_providers_want_it():
    """In small letters, whatever a cell says."""
    assert "https://example.com/A.png" == address("HTTPS://example.com/A.png")


def test_data_url_is_written_as_its_bytes_are():
    """A wrong type and line breaks are put right, so that equal images are equal questions."""
    text = "data:image/gif;base64," + base64.b64encode(PNG).decode()[:8] + "\n" + base64.b64encode(PNG).decode()[8:]

    assert data_url(PNG) == address(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("https://a/b", True), ("data:x", True), ("images/a.png", False), ("C:\\a.png", False), ("/a:b.png", False)],
)
def test_addresses_are_told_from_paths(text, is_one):
    """A drive's letter is no scheme."""
    assert is_one == is_address(text)
