"""AWS's signature, version 4, as the one who checks it computes it.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_HEADER = re.compile(
    rf"{_ALGORITHM} Credential=([^/,\s]+)/(\d{{8}})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_NEEDED = frozenset({"host", "x-amz-date"})


def is_signature(authorization: str) -> bool:
    """Return whether the header of that name claims to be a signature."""
    return authorization.startswith(_ALGORITHM)


def key_of(method: str, target: str, headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """Return the secret key a request was signed with, where it is this one; else the name of the key it claims.

    Args:
        method: of the request.
        target: its path and query, as it came.
        headers: looked up in any case.
        body: as it came.
        secret: the secret access key.
    """
    found = _HEADER.fullmatch(headers.get("Authorization", ""))
    if found is None:
        return "no signature that could be read"
    name, day, region, service, signed, signature = found.groups()
    names = signed.split(";")
    moment = headers.get("X-Amz-Date", "")
    if not _NEEDED.issubset(names) or not moment.startswith(day):
        return name
    path, _, query = target.partition("?")
    lines = [
        method,
        quote(path, safe="/-_.~"),  # once more: only S3 takes it as it came
        "&".join(sorted(query.split("&"))),
        *(f"{one}:{' '.join(headers.get(one, '').split())}" for one in names),
        "",
        signed,
        hashlib.sha256(body).hexdigest(),
    ]
    scope = f"{day}/{region}/{service}/aws4_request"
    whole = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request", whole):
        key = hmac.digest(key, part.encode(), "sha256")
    return secret if hmac.compare_digest(key.hex(), signature) else name
