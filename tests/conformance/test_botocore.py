"""AWS's own client takes the simulator for the real thing."""

import hashlib
import json

import pytest

from dfllm._core.tools import tools_of
from dfllm._wire.dialects import DIALECTS
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


def weather(city: str, days: int) -> str:
    """Tell the weather."""
    raise AssertionError("nothing is ever called")


def look_up(query: str, most: int = 3) -> str:
    """Look something up."""
    raise AssertionError("nothing is ever called")


OFFERED = json.loads(DIALECTS["converse"].tools(tools_of([weather, look_up]), strict=True))
ONE = "What is the weather in Oslo?"
TWO = "First the weather in Oslo, then look_up Lima."


def called(answer):
    """Return the calls of an answer."""
    return [part["toolUse"] for part in answer["output"]["message"]["content"] if "toolUse" in part]


@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [
        (ONE, None, ["weather"]),
        (ONE, {"auto": {}}, ["weather"]),
        (TWO, None, ["weather", "look_up"]),
        (ONE, {"any": {}}, ["weather"]),
        ("Where is Oslo?", {"tool": {"name": "look_up"}}, ["look_up"]),
        ("Where is Oslo?", None, []),
    ],
)
def test_calls_are_read(simulator, text, choice, expected):
    """The client takes our tools for its own, and finds blocks with objects and ids of their own."""
    offered = {"tools": OFFERED} | ({"toolChoice": choice} if choice else {})

    answer = ask(client_of(simulator), text, toolConfig=offered)

    calls = called(answer)
    assert expected == [call["name"] for call in calls]
    assert ("tool_use" if calls else "end_turn") == answer["stopReason"]
    assert len(calls) == len({call["toolUseId"] for call in calls if call["toolUseId"].startswith("tooluse_")})
    assert all(isinstance(call["input"], dict) for call in calls)


def test_text_may_stand_before_a_call(simulator):
    """In a block of its own."""
    answer = ask(client_of(simulator), ONE, modelId="large", toolConfig={"tools": OFFERED})

    text, call = answer["output"]["message"]["content"]
    assert text["text"]
    assert {"city", "days"} == call["toolUse"]["input"].keys()


@pytest.mark.parametrize(
    ("fault", "stop", "inputs"), [("badargs", "malformed_tool_use", []), ("length", "max_tokens", [{}])]
)
def test_calls_in_trouble_are_told(simulator, fault, stop, inputs):
    """One that is malformed is not shown, and one that was cut is empty."""
    answer = ask(client_of(simulator), f"{ONE} <{fault}>", toolConfig={"tools": OFFERED})

    assert (stop, inputs) == (answer["stopReason"], [call["input"] for call in called(answer)])


def test_a_tool_that_is_none_becomes_an_error(simulator):
    """As the vendor says it."""
    with pytest.raises(errors.ClientError, match="inputSchema"):
        ask(
            client_of(simulator),
            toolConfig={"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {"type": "string"}}}}]},
        )


PNG, PDF = b"\x89PNG\r\n\x1a\npixels", b"%PDF-1.7 pages"


def shown(png=PNG, pdf=PDF):
    """Return a conversation that shows an image and a document."""
    content = [
        {"image": {"format": "png", "source": {"bytes": png}}},
        {"document": {"format": "pdf", "name": "document 1", "source": {"bytes": pdf}}},
        {"text": "See?"},
    ]
    return [{"role": "user", "content": content}]


def test_images_and_documents_arrive(simulator):
    """As the bytes they are; the client packs them itself."""
    answer = ask(client_of(simulator), modelId="echo", messages=shown())

    seen = [
        f"[{kind} {len(content)} bytes {hashlib.sha256(content).hexdigest()[:8]}]"
        for kind, content in (("image/png", PNG), ("application/pdf", PDF))
    ]
    assert ["See?", *seen] == answer["output"]["message"]["content"][0]["text"].splitlines()


@pytest.mark.parametrize("broken", [{"png": b"no image"}, {"pdf": b"no document"}], ids=["image", "document"])
def test_broken_images_and_documents_become_errors(simulator, broken):
    """Before any model sees them."""
    with pytest.raises(errors.ClientError, match="ValidationException"):
        ask(client_of(simulator), modelId="echo", messages=shown(**broken))
