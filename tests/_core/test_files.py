"""Files: what the bytes are decides, and no secret leaves by a path that stands in a table."""

import base64

import pytest

from dfllm._core.files import MOST_BYTES, PDF, TEXT, file_address, file_type, file_url
from dfllm._core.images import Unfit

DOCUMENT = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
NOTE = "Grüße\tan alle\r\n".encode()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (DOCUMENT, PDF),
        (NOTE, TEXT),
        (b"\xef\xbb\xbf" + NOTE, TEXT),
        (b"", None),
        (b" \n", None),
        (b"\xff\xfe", None),
        (b"a\0b", None),
        (b"\x1b[31m", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"PK\x03\x04", None),
    ],
)
def test_bytes_say_what_they_are(content, kind):
    """PDF, text, or nothing that is sent."""
    assert kind == file_type(content)


def test_bytes_become_a_data_url():
    """A mark of the byte order is no part of a text."""
    assert f"data:application/pdf;base64,{base64.b64encode(DOCUMENT).decode()}" == file_url(DOCUMENT)
    assert file_url(NOTE) == file_url(b"\xef\xbb\xbf" + NOTE)


@pytest.mark.parametrize(
    "content",
    [b"root:x:0:0:root", b"-----BEGIN OPENSSH PRIVATE KEY-----", b"API_KEY=sk-1"],
    ids=["passwd", "key", "env"],
)
def test_a_path_in_a_cell_leads_to_no_text(content):
    """It may be a stranger's; bytes, and paths that a program made, are the user's own doing."""
    with pytest.raises(Unfit, match=r"^path to no PDF: a text file goes as pathlib\.Path or bytes$"):
        file_url(content, is_named=True)

    assert file_url(content).startswith("data:text/plain;base64,")
    assert file_url(DOCUMENT) == file_url(DOCUMENT, is_named=True)


def test_files_have_a_size():
    """50 MB are sent, a byte more is not."""
    assert file_url(DOCUMENT.ljust(MOST_BYTES, b"\0")).startswith("data:application/pdf")
    with pytest.raises(Unfit, match="file of over 50 MB"):
        file_url(DOCUMENT.ljust(MOST_BYTES + 1, b"\0"))


@pytest.mark.parametrize(
    "text",
    [
        "http://example.com/a.pdf",
        "file:///etc/passwd",
        "https://user:word@example.com/a.pdf",
        "https://example.com/a b.pdf",
        "data:application/pdf,plain",
        "data:application/pdf;base64,####",
        "data:application/pdf;base64,A",
        "data:application/zip;base64,UEsDBA==",
    ],
)
def test_other_addresses_are_refused(text):
    """Plain http, files, passwords in a URL, and data that is no file."""
    with pytest.raises(Unfit):
        file_address(text)


def test_data_url_is_written_as_its_bytes_are():
    """Whatever type it claims to be of."""
    claimed = "data:text/html;charset=utf-8;base64," + base64.b64encode(DOCUMENT).decode()

    assert file_url(DOCUMENT) == file_address(claimed)
    assert "https://example.com/a.pdf" == file_address("https://example.com/a.pdf")
