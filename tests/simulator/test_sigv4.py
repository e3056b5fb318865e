"""Signatures: the right secret makes the right one, by AWS's own example and by AWS's own signer."""

import pytest

from dfllm.simulator.sigv4 import is_signature, key_of

# https://docs.aws.amazon.com/IAM/latest/UserGuide/signing-elements.html, the request that lists users.
EXAMPLE = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date, "
    "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    "host": "iam.amazonaws.com",
    "x-amz-date": "20150830T123600Z",
    "X-Amz-Date": "20150830T123600Z",
}
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TARGET = "/?Action=ListUsers&Version=2010-05-08"


def test_aws_example_is_right():
    """The documentation's own numbers come out."""
    assert SECRET == key_of("GET", TARGET, EXAMPLE, b"", SECRET)


@pytest.mark.parametrize(
    ("method", "target", "body", "secret"),
    [
        ("POST", TARGET, b"", SECRET),
        ("GET", "/x" + TARGET[1:], b"", SECRET),
        ("GET", TARGET + "0", b"", SECRET),
        ("GET", TARGET, b"x", SECRET),
        ("GET", TARGET, b"", SECRET + "x"),
    ],
)
def test_whatever_is_changed_makes_it_wrong(method, target, body, secret):
    """Then only the name of the key is known."""
    assert "AKIDEXAMPLE" == key_of(method, target, EXAMPLE, body, secret)


@pytest.mark.parametrize("name", ["host", "X-Amz-Date"])
def test_headers_are_signed(name):
    """Another host, or another time, is another request."""
    assert "AKIDEXAMPLE" == key_of("GET", TARGET, EXAMPLE | {name: "20150831T000000Z"}, b"", SECRET)


def test_what_is_no_signature_is_told_so():
    """A bearer's key is none, and half of one cannot be read."""
    assert not is_signature("Bearer x")
    assert "no signature that could be read" == key_of("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 x"}, b"", "s")


@pytest.mark.parametrize("path", ["/model/small/converse", "/model/a:b%2Fc/converse"])
def test_aws_own_signer_is_understood(path):
    """Also where a path has colons and slashes in a name."""
    auth = pytest.importorskip("botocore.auth")
    requests = pytest.importorskip("botocore.awsrequest")
    keys = pytest.importorskip("botocore.credentials").Credentials("AKIDEXAMPLE", SECRET, "a-token")
    request = requests.AWSRequest("POST", f"https://bedrock.example.com{path}", data=b"{}")

    auth.SigV4Auth(keys, "bedrock", "eu-central-1").add_auth(request)

    request.headers["host"] = "bedrock.example.com"
    assert SECRET == key_of("POST", path, request.headers, b"{}", SECRET)
