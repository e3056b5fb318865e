"""Settings: argument before `options` before `configure` before the environment before the default; keys are hidden."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from dfllm._core.errors import KeyMissing, OptionError
from dfllm._run import settings
from dfllm._run.registering import register_provider
from dfllm._run.settings import (
    Limits,
    Settings,
    configure,
    current,
    endpoint_of,
    options,
    providers,
)

KEY = "sk-canary-0123456789"


@pytest.fixture(autouse=True)
def no_store(own_home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without the store that every test gets by the environment."""
    monkeypatch.delenv("DFLLM_STORE")


def test_defaults_are_those_documented():
    """Nothing is set, and nothing is read from anywhere else."""
    defaults = {"durability": "normal", "prompt_caching": "auto"}
    assert Settings(None, None, Limits(None), 600.0, None, 7200.0, 1, 1, **defaults) == current()


LAYERS = {
    "model": ("simulator/a", "simulator/b", "simulator/c", "simulator/d"),
    "timeout": (1.0, 2.0, 3.0, 4.0),
    "limits": (Limits(1), Limits(2), Limits(3), Limits(4)),
    "progress": (False, True, False, True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_nearer_setting_wins(monkeypatch, name):
    """Each layer is under the one that is said closer to the call; taken away, the one below shows again."""
    environment, configured, optioned, given = LAYERS[name]
    value = environment.concurrency if name == "limits" else environment
    monkeypatch.setenv("DFLLM_CONCURRENCY" if name == "limits" else f"DFLLM_{name.upper()}", str(value))
    seen = [getattr(current(), name)]

    configure(**{name: configured})
    seen.append(getattr(current(), name))
    with options(**{name: optioned}):
        seen += [getattr(current(), name), getattr(current(**{name: given}), name)]
    configure(**{name: None})
    seen.append(getattr(current(), name))

    assert [environment, configured, optioned, given, environment] == seen


def test_limits_come_from_the_environment(monkeypatch):
    """Each from its own variable."""
    monkeypatch.setenv("DFLLM_RPM", "600")
    rpm = current().limits
    monkeypatch.setenv("DFLLM_TPM", "90000.5")
    monkeypatch.setenv("DFLLM_CONCURRENCY", "7")

    assert Limits(rpm=600.0) == rpm
    assert Limits(7, rpm=600.0, tpm=90_000.5) == current().limits


@pytest.mark.parametrize("name", ["rpm", "tpm"])
@pytest.mark.parametrize("value", [0, -1, True, "600", float("nan"), float("inf")])
def test_a_limit_is_a_number_above_zero(name, value):
    """Of nothing there is nothing to wait for; without end is no limit."""
    with pytest.raises(OptionError) as caught:
        Limits(**{name: value})

    assert f"Limits({name}=) takes a number above 0; found {value!r}." == str(caught.value)


@pytest.mark.parametrize("value", [0, -0.5, 1.01, True, "half", float("nan")])
def test_a_share_is_a_part_of_the_whole(value):
    """More than all is no share."""
    with pytest.raises(OptionError) as caught:
        Limits(share=value)

    assert f"Limits(share=) takes a number above 0 and up to 1; found {value!r}." == str(caught.value)


def test_limits_are_named():
    """Only how many at once may go without a name, as it did before there were others."""
    with pytest.raises(TypeError):
        Limits(20, 600)  # type: ignore[misc]  # that is what is tried

    assert 20 == Limits(20).concurrency


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
def test_progress_can_be_switched_off_by_a_word(monkeypatch, text):
    """As people write it."""
    monkeypatch.setenv("DFLLM_PROGRESS", text)

    assert False is current().progress


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("DFLLM_TIMEOUT", "soon", "DFLLM_TIMEOUT takes a number; found 'soon'."),
        ("DFLLM_TIMEOUT", "-1", "timeout=-1.0 does not fit"),
        ("DFLLM_CONCURRENCY", "many", "DFLLM_CONCURRENCY takes a number; found 'many'."),
        ("DFLLM_CONCURRENCY", "0", "Limits(concurrency=) takes a whole number from 1 on; found 0."),
        ("DFLLM_RPM", "many", "DFLLM_RPM takes a number; found 'many'."),
        ("DFLLM_TPM", "-1", "Limits(tpm=) takes a number above 0; found -1.0."),
    ],
)
def test_environment_that_does_not_fit_is_named(monkeypatch, name, text, said):
    """A slip in a shell's profile is said to be one."""
    monkeypatch.setenv(name, text)

    with pytest.raises(OptionError) as caught:
        current()

    assert str(caught.value).startswith(said)


def test_empty_variable_is_none_at_all(monkeypatch):
    """As a shell leaves it."""
    for name in ("MODEL", "STORE", "TIMEOUT", "PROGRESS", "CONCURRENCY", "RPM", "TPM"):
        monkeypatch.setenv(f"DFLLM_{name}", "")

    assert Settings() == current()


def test_settings_are_all_taken_or_none():
    """One that does not fit leaves the others as they were."""
    configure(model="simulator/small")

    with pytest.raises(OptionError, match="timeout"):
        configure(model="simulator/large", timeout=-1)

    assert "simulator/small" == current().model


@pytest.mark.parametrize("set_them", [configure, lambda **given: options(**given).__enter__()])
def test_unknown_setting_is_told_the_nearest(set_them):
    """And all there are."""
    with pytest.raises(OptionError, match=r"No setting is called 'modle'. Did you mean 'model'\? There are model, "):
        set_them(modle="simulator/small")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 5),
        ("model", ""),
        ("store", 5),
        ("limits", 5),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("timeout", "60"),
        ("progress", "yes"),
        ("patience", -1),
        ("patience", "long"),
        ("resend_ambiguous", -1),
        ("resend_ambiguous", 0.5),
        ("resend_ambiguous", True),
        ("durability", "none"),
        ("durability", ["full"]),
        ("prompt_caching", True),
    ],
)
def test_value_that_does_not_fit_is_refused(name, value):
    """The message has the name, the value and what it takes."""
    with pytest.raises(OptionError, match=rf"^{name}=.* does not fit; it takes "):
        configure(**{name: value})


def test_blocks_nest_and_end_with_their_exceptions():
    """Whatever happens in a block, the settings outside are back."""
    seen = []

    def fail() -> None:
        with options(model="simulator/inner", timeout=None):
            seen.append((current().model, current().timeout))
            raise LookupError

    with options(model="simulator/outer", timeout=1.0):
        with pytest.raises(LookupError):
            fail()
        seen.append((current().model, current().timeout))

    assert [("simulator/inner", 1.0), ("simulator/outer", 1.0)] == seen
    assert None is current().model


def test_block_is_its_own_threads_and_tasks_alone():
    """Two notebooks' cells, or two requests of a web service, do not see each other's."""
    seen: list[Any] = []

    async def task(model: str) -> str | None:
        with options(model=model):
            await asyncio.sleep(0)
            return current().model

    async def main() -> list[str | None]:
        return await asyncio.gather(task("simulator/a"), task("simulator/b"))

    with options(model="simulator/mine"):
        thread = threading.Thread(target=lambda: seen.append(current().model))
        thread.start()
        thread.join()

    assert [None] == seen
    assert ["simulator/a", "simulator/b"] == asyncio.run(main())


def test_store_has_its_place_in_the_users_data():
    """Paid answers are no cache that a cleaner may empty."""
    expected = Path(platformdirs.user_data_dir("dfllm", appauthor=False)) / "answers.db"

    assert expected == current().store_path


def test_store_is_a_file_or_the_folder_of_one(tmp_path: Path, monkeypatch):
    """A path with a suffix is a file, any other a folder; the home may be written as a tilde."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "with.dot"
    folder.mkdir()

    for given, expected in [
        (tmp_path / "mine.db", tmp_path / "mine.db"),
        (str(tmp_path / "new"), tmp_path / "new" / "answers.db"),
        (folder, folder / "answers.db"),
        ("~/mine.db", tmp_path / "mine.db"),
    ]:
        configure(store=given)
        assert expected == current().store_path


def test_store_comes_from_the_environment(tmp_path: Path, monkeypatch):
    """DFLLM_STORE moves it."""
    monkeypatch.setenv("DFLLM_STORE", str(tmp_path / "mine.db"))

    assert tmp_path / "mine.db" == current().store_path


# Providers, keys and URLs.


def test_key_and_place_are_the_vendors_own_variables(monkeypatch):
    """Read at the call, trimmed, and shown by nobody."""
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy.example.com/v1/")

    found = endpoint_of(providers()["openai"], current())

    assert ("https://proxy.example.com/v1", KEY) == (found.base_url, found.secret.reveal())
    assert KEY not in repr(found) + str(found)


def test_place_is_the_providers_where_none_is_set(monkeypatch):
    """The built-in one."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert "https://api.openai.com/v1" == endpoint_of(providers()["openai"], current()).base_url


def test_absent_key_is_named():
    """With the variable, and a model that needs none."""
    with pytest.raises(KeyMissing, match="openai wants an API key and OPENAI_API_KEY is not set") as caught:
        endpoint_of(providers()["openai"], current())

    assert "simulator/small" in str(caught.value)


def test_key_that_is_not_needed_is_sent_where_it_is_set(monkeypatch):
    """A local server may be behind one."""
    assert None is endpoint_of(providers()["vllm"], current()).secret

    monkeypatch.setenv("VLLM_API_KEY", KEY)

    assert KEY == endpoint_of(providers()["vllm"], current()).secret.reveal()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434/v1"),
        ("127.0.0.1:9999", "http://127.0.0.1:9999/v1"),
        ("http://127.0.0.1:9999/", "http://127.0.0.1:9999/v1"),
        ("https://ollama.example.com/v1", "https://ollama.example.com/v1"),
    ],
)
def test_ollamas_host_is_read_as_ollama_reads_it(monkeypatch, host, url):
    """Bare or whole, with the path or without."""
    monkeypatch.setenv("OLLAMA_HOST", host)

    assert url == endpoint_of(providers()["ollama"], current()).base_url


@pytest.mark.parametrize(
    ("name", "variable", "given", "url"),
    [
        ("azure", "AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/", "https://mine.openai.azure.com/openai/v1"),
        ("groq", "GROQ_BASE_URL", "https://api.groq.com", "https://api.groq.com/openai/v1"),
        ("anthropic", "ANTHROPIC_BASE_URL", "https://proxy.example.com/", "https://proxy.example.com"),
        ("gemini", "GOOGLE_GEMINI_BASE_URL", "https://proxy.example.com", "https://proxy.example.com"),
        ("openai-responses", "OPENAI_BASE_URL", "https://proxy.example.com/v1", "https://proxy.example.com/v1"),
    ],
)
def test_vendors_variables_are_read_as_their_clients_read_them(monkeypatch, name, variable, given, url):
    """Each leaves out of the base URL what its client adds."""
    monkeypatch.setenv(variable, given)

    assert url == endpoint_of(providers()[name], current(), needs_key=False).base_url


def test_a_provider_at_no_one_place_wants_its_variable(monkeypatch):
    """Nothing is sent anywhere else."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)

    with pytest.raises(OptionError, match="AZURE_OPENAI_ENDPOINT is not set"):
        endpoint_of(providers()["azure"], current())


def test_either_variable_of_a_key_will_do(monkeypatch):
    """Where both are set the first counts, as in the vendor's client; where none is, both are named."""
    gemini = providers()["gemini"]
    with pytest.raises(KeyMissing, match="GOOGLE_API_KEY or GEMINI_API_KEY is not set"):
        endpoint_of(gemini, current())

    monkeypatch.setenv("GEMINI_API_KEY", "second")
    alone = endpoint_of(gemini, current()).secret
    monkeypatch.setenv("GOOGLE_API_KEY", "first")

    assert ("second", "first") == (alone.reveal(), endpoint_of(gemini, current()).secret.reveal())


def test_a_registered_provider_counts_as_its_dialect_does():
    """What a limit counts goes with the wire."""
    register_provider("lab", base_url="https://lab.example.com", dialect="anthropic")

    assert "anthropic" == endpoint_of(providers()["lab"], current()).charges


def test_simulator_is_started_once_a_store(tmp_path: Path):
    """Without its variable it runs in this process, its bill beside the store."""
    configure(store=tmp_path / "one")
    simulator = providers()["simulator"]
    first, again = (endpoint_of(simulator, current()).base_url for _ in range(2))
    configure(store=tmp_path / "two")
    other = endpoint_of(simulator, current()).base_url

    assert first == again != other
    assert (tmp_path / "one" / "simulator-bill.db").exists()
    assert 2 == len(settings._simulators)


def test_simulator_elsewhere_is_taken_where_it_is_named(monkeypatch):
    """Nothing is started then."""
    monkeypatch.setenv("DFLLM_SIMULATOR_URL", "http://127.0.0.1:9/v1")

    assert "http://127.0.0.1:9/v1" == endpoint_of(providers()["simulator"], current()).base_url
    assert {} == settings._simulators


def test_registered_provider_is_known_by_name(monkeypatch):
    """With its URL, and its key if it names one."""
    register_provider("lab", base_url="http://127.0.0.1:9/v1/", api_key_env="LAB_KEY", max_tokens_field="max_new")
    lab = providers()["lab"]

    with pytest.raises(KeyMissing, match="LAB_KEY"):
        endpoint_of(lab, current())
    monkeypatch.setenv("LAB_KEY", KEY)

    assert ("http://127.0.0.1:9/v1", KEY) == (
        (found := endpoint_of(lab, current())).base_url,
        found.secret.reveal(),
    )
    assert ("max_new", False) == (lab.max_tokens_field, lab.built_in)


def test_provider_may_be_registered_again():
    """A cell that is run again moves it."""
    register_provider("lab", base_url="http://127.0.0.1:9/v1")
    register_provider("lab", base_url="http://127.0.0.1:10/v1")

    found = endpoint_of(providers()["lab"], current())

    assert ("http://127.0.0.1:10/v1", None) == (found.base_url, found.secret)


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("openai", {}, "built-in"),
        ("", {}, "letters, digits"),
        ("a/b", {}, "letters, digits"),
        ("a:b", {}, "letters, digits"),
        ("a b", {}, "letters, digits"),
        ("lab", {"dialect": "telnet"}, "No dialect is called 'telnet'; there are anthropic, converse, gemini, openai"),
        ("lab", {"dialect": "gemini", "max_tokens_field": "most"}, "is for the dialect 'openai'"),
    ],
)
def test_provider_that_cannot_be_is_refused(name, more, said):
    """A name must stand before a slash, and the wire must be one we speak."""
    with pytest.raises(OptionError, match=said):
        register_provider(name, base_url="http://127.0.0.1:9/v1", **more)

    assert "lab" not in providers()
