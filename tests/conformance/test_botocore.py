"""AWS's own client takes the simulator for the real thing."""

import json

import pytest

from dfllm.simulator import FAULTS, Faults, Simulator

session = pytest.importorskip("botocore.session")
errors = pytest.importorskip("botocore.exceptions")
config = pytest.importorskip("botocore.config")

SECRET = "right-secret-of-the-test"
SCHEMA = {
    "type": "object",
    "properties": {"hotel": {"type": "string"}, "stars": {"type": "integer"}},
    "required": ["hotel", "stars"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def simulator():
    """Return a simulator on which each fault strikes where its name is in the prompt."""
    faults = Faults(by_text={f"<{name}>": name for name in FAULTS}, stall_seconds=0.05)
    with Simulator(key=SECRET, faults=faults) as running:
        yield running


def client_of(simulator, secret=SECRET, **more):
    """Return a client that does not try again by itself."""
    return session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=simulator.base_url.removesuffix("/v1"),
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        config=config.Config(retries={"total_max_attempts": 1}),
        **more,
    )


def ask(client, text="Where is Oslo?", **options):
    """Ask for an answer."""
    messages = [{"role": "user", "content": [{"text": text}]}]
    return client.converse(**{"modelId": "small", "messages": messages} | options)


@pytest.mark.parametrize("token", [None, "a-token-of-the-session"])
def test_plain_text_is_answered(simulator, token):
    """The client's signature is right, and it reads text, end and account."""
    answer = ask(client_of(simulator, aws_session_token=token), system=[{"text": "Be brief."}])

    (part,) = answer["output"]["message"]["content"]
    assert "Oslo" in part["text"]
    assert "end_turn" == answer["stopReason"]
    assert answer["usage"]["inputTokens"] > 0 < answer["usage"]["outputTokens"]
    assert answer["usage"].keys() >= {"totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens"}
    assert 36 == len(answer["ResponseMetadata"]["RequestId"])


def test_schemas_are_kept_to(simulator):
    """The answer's text is JSON that fits."""
    form = {"type": "json_schema", "structure": {"jsonSchema": {"name": "x", "schema": json.dumps(SCHEMA)}}}

    answer = ask(client_of(simulator), outputConfig={"textFormat": form})

    assert {"hotel", "stars"} == json.loads(answer["output"]["message"]["content"][0]["text"]).keys()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", "ValidationException"),
        ("ctx", "ValidationException"),
        ("403", "AccessDeniedException"),
        ("404", "ResourceNotFoundException"),
        ("408", "ModelTimeoutException"),
        ("rate429", "ThrottlingException"),
        ("quota", "ServiceQuotaExceededException"),
        ("500", "InternalServerException"),
        ("503", "ServiceUnavailableException"),
    ],
)
def test_faults_become_errors(simulator, fault, error):
    """Each is raised as what the client knows it by."""
    with pytest.raises(errors.ClientError) as raised:
        ask(client_of(simulator), f"<{fault}>")

    assert error == raised.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    ("fault", "stop"), [("refusal", "content_filtered"), ("length", "max_tokens"), ("fncall", "tool_use")]
)
def test_ends_are_told(simulator, fault, stop):
    """Why an answer ended is said in the vendor's word."""
    assert stop == ask(client_of(simulator), f"<{fault}>")["stopReason"]


def test_another_secret_is_refused(simulator):
    """A signature made with it is another."""
    with pytest.raises(errors.ClientError) as raised:
        ask(client_of(simulator, "wrong-secret"))

    assert "UnrecognizedClientException" == raised.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"modelId": "us.vendor.model-v1:0"}, "model identifier is invalid"),
        ({"messages": []}, "messages field is required"),
        ({"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "must alternate"),
        ({"inferenceConfig": {"temperature": 1.5}}, "between 0 and 1"),
        ({"system": [{"text": " "}]}, "blank"),
    ],
)
def test_broken_requests_become_errors(simulator, options, says):
    """What the vendor would not take is not taken here; names with colons are signed all the same."""
    with pytest.raises(errors.ClientError, match=says):
        ask(client_of(simulator), **options)
