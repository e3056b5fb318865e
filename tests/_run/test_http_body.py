"""Bodies are unpacked under limits, whatever their pieces."""

import gzip
import tracemalloc
import zlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._run.http_body import BodyLimits, Unpacker
from dfllm._run.http_errors import TooBig

LIMITS = BodyLimits(most_bytes=64 * 2**20, most_ratio=100)
TEXT = b'{"text": "' + bytes(range(32, 127)) * 20 + b'"}'


def raw_deflate(data: bytes) -> bytes:
    """Pack as some servers do, without zlib's head."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def unpacked(encoding: str, packed: bytes, step: int = 1 << 30, limits: BodyLimits = LIMITS) -> bytes:
    """Unpack a body that arrives in pieces of this size."""
    unpacker = Unpacker(encoding, limits)
    found = b"".join(
        piece for start in range(0, len(packed), step) for piece in unpacker.feed(packed[start : start + step])
    )
    unpacker.end()
    return found


PACKED = {
    "": lambda data: data,
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "identity, gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
}


@pytest.mark.parametrize("encoding", PACKED)
@given(data=st.binary(max_size=3000), step=st.integers(1, 700))
def test_any_body_unpacks_to_itself(encoding, data, step):
    """However it is packed and cut into pieces."""
    assert data == unpacked(encoding, PACKED[encoding](data), step)


@given(parts=st.lists(st.binary(max_size=100), min_size=1, max_size=5), step=st.integers(1, 50))
def test_a_gzip_body_may_be_several(parts, step):
    """Members one behind the other are one body, wherever the pieces end."""
    assert b"".join(parts) == unpacked("gzip", b"".join(map(gzip.compress, parts)), step)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_padding_behind_a_gzip_body_is_dropped(step):
    """What follows the end and is no gzip is not ours to read."""
    assert TEXT == unpacked("gzip", gzip.compress(TEXT) + b"\0\0\0", step)


@pytest.mark.parametrize("size", [2**18 - 1, 2**18, 2**18 + 1, 3 * 2**18])
def test_bodies_around_the_size_of_a_piece_are_whole(size):
    """Nothing is left inside when a piece is exactly full."""
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    assert data == unpacked("gzip", gzip.compress(data), limits=LIMITS._replace(most_ratio=10_000))


def test_an_empty_body_is_empty():
    """A 204 that claims to be packed is no error."""
    assert b"" == unpacked("gzip", b"")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("keep", [1, 5, 40])
def test_a_packed_body_that_stops_early_is_an_error(encoding, keep):
    """HTTP may be whole where the packing is not."""
    with pytest.raises(httpx.DecodingError):
        unpacked(encoding, PACKED[encoding](TEXT)[:keep])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_packed_as_it_says_is_an_error(encoding):
    """Rubbish is no answer."""
    with pytest.raises(httpx.DecodingError):
        unpacked(encoding, b"<html>" * 20)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_what_we_did_not_ask_for_is_an_error(encoding):
    """Only gzip is asked for; deflate is understood."""
    with pytest.raises(httpx.DecodingError, match="did not ask"):
        unpacked(encoding, TEXT)


def test_a_body_over_the_size_is_too_big():
    """The limit counts unpacked bytes, with or without packing."""
    limits = BodyLimits(1000, 100)

    assert 1000 == len(unpacked("", b"x" * 1000, limits=limits))
    with pytest.raises(TooBig, match="over 1000 bytes"):
        unpacked("", b"x" * 1001, step=10, limits=limits)
    with pytest.raises(TooBig, match="over 1000 bytes"):
        unpacked("gzip", gzip.compress(b"x" * 1001), limits=limits)


def test_the_limit_is_named_in_mebibytes():
    """As people say it."""
    with pytest.raises(TooBig, match="over 64 MiB"):
        LIMITS.check(64 * 2**20 + 1, 2**30)


def test_a_short_answer_may_be_packed_tightly():
    """An answer of one repeated word is no attack."""
    assert b"a" * 900_000 == unpacked("gzip", gzip.compress(b"a" * 900_000))


def test_a_bomb_is_stopped_while_it_is_small():
    """A gigabyte in a megabyte costs a few megabytes, not a gigabyte."""
    bomb = gzip.compress(bytes(2**20)) * 1024

    tracemalloc.start()
    with pytest.raises(TooBig, match="packed tighter than 100 to 1"):
        unpacked("gzip", bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * 2**20


def test_downloads_have_no_size_limit_but_the_ratio():
    """A results file goes to disk, so only bombs are refused."""
    limits = BodyLimits(None, 100)

    limits.check(2**40, 2**40)
    with pytest.raises(TooBig, match="100 to 1"):
        limits.check(2**40, 2**30)
