"""Hostile text in a real browser: what a notebook shows of a run is text, whatever a model or a stranger wrote.

Every payload calls `ran` with its number, by each way that a page has of running what it shows.
"""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import dfllm
from dfllm import report
from dfllm._core.types import Failure
from dfllm._run import progress
from dfllm._run.desk import Settled
from dfllm._run.tally import Tally

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: `N` becomes the payload's number. The first rows run by themselves, the others wait for somebody to act.
PAYLOADS = (
    "<script>ran(N)</script>",
    "</td></tr></table><script>ran(N)</script>",
    "</summary></details></div></body><script>ran(N)</script>",
    '"><script>ran(N)</script>',
    "'><script>ran(N)</script>",
    "--><script>ran(N)</script>",
    "]]><script>ran(N)</script>",
    "</title></textarea></style></script><script>ran(N)</script>",
    "<<script>ran(N)//<</script>",
    "<scr<script>ipt>ran(N)</script>",
    "<SCRIPT SRC='data:text/javascript,ran(N)'></SCRIPT>",
    "<script type=module>ran(N)</script>",
    "<svg><script>ran(N)</script></svg>",
    "<svg><script xlink:href='data:text/javascript,ran(N)'/></svg>",
    "<img src=x onerror=ran(N)>",
    "<img src=x onerror='ran(N)'",
    '"><img src=x onerror=ran(N)>',
    "' onerror='ran(N)' src=x><img src=x onerror=ran(N) x='",
    "<IMG SRC=x OnErRoR=ran(N)>",
    "<img/src=x/onerror=ran(N)>",
    "<img src=x:x onerror=&#114;an(N)>",
    "<image src=x onerror=ran(N)>",
    "<svg onload=ran(N)>",
    "<svg/onload=ran(N)>",
    "<svg><animate onbegin=ran(N) attributeName=x dur=1s>",
    "<svg><set attributeName=href onbegin=ran(N) to=x>",
    "<body onload=ran(N)>",
    "<body onpageshow=ran(N)>",
    "<input autofocus onfocus=ran(N)>",
    "<video><source onerror=ran(N)></video>",
    "<video src=x onerror=ran(N)></video>",
    "<audio src=x onerror=ran(N)></audio>",
    "<object data=x: onerror=ran(N)></object>",
    "<iframe onload=ran(N)></iframe>",
    "<iframe srcdoc='<script>parent.ran(N)</script>'></iframe>",
    "<iframe src='javascript:parent.ran(N)'></iframe>",
    "<embed src='javascript:ran(N)'>",
    "<style>@keyframes x{}</style><b style='animation-name:x' onanimationstart=ran(N)>x</b>",
    "<style onload=ran(N)></style>",
    "<link rel=stylesheet href='data:text/css,' onload=ran(N)>",
    "<details open ontoggle=ran(N)><summary>x</summary></details>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=ran(N)>",
    "<noscript><p title='</noscript><img src=x onerror=ran(N)>'>",
    "<template><script>ran(N)</script></template><img src=x onerror=ran(N)>",
    "\x00<scr\x00ipt>ran(N)</scr\x00ipt><img src=x onerror=ran(N)>",
    "{{ ''.constructor }}<img src=x onerror=ran(N)>",
    "&lt;script&gt;ran(N)&lt;/script&gt;",
    "<meta http-equiv=refresh content='0;url=javascript:ran(N)'>",
    "<a href='javascript:ran(N)'>x</a>",
    "<marquee onstart=ran(N)>x</marquee>",
    "<form action='javascript:ran(N)'><button autofocus>x</button></form>",
    "\u202e<img src=x onerror=ran(N)>\u2066",
)

pytestmark = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("CI"), reason="no chromium here; CI installs it, and never skips this"
)


def ran(body: str, folder: Path) -> set[int]:
    """Show a page in the browser, and return the numbers of the payloads that ran."""
    page = folder / "page.html"
    script = "<script>function ran(n){document.documentElement.setAttribute('ran-' + n, '')}</script>"
    page.write_text(
        f"<!doctype html><html><head><meta charset=utf-8>{script}</head><body>{body}</body></html>", "utf-8"
    )
    assert BROWSER is not None, "CI is to have chromium"
    ended = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--virtual-time-budget=3000", f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        timeout=100,
    )
    assert 0 == ended.returncode, ended.stderr.decode()
    opening = re.search(r"<html[^>]*>", ended.stdout.decode())
    assert opening is not None, "the browser showed nothing"
    return {int(number) for number in re.findall(r"ran-(\d+)", opening[0])}


def numbered() -> list[str]:
    """Return the payloads, each with its number."""
    return [payload.replace("N", str(number)) for number, payload in enumerate(PAYLOADS)]


def bars(title: str, monkeypatch) -> list[str]:
    """Return what a notebook's bar with this title displays."""
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda page, display_id: handle)
    monkeypatch.setitem(__import__("sys").modules, "IPython.display", display)
    bar = progress._NotebookBar(Tally(3), lambda: 1.0, total=3, desc=title)
    bar.display()
    bar.close()
    return shown


def test_nothing_runs_that_a_notebook_shows(monkeypatch, simulator, tmp_path):
    """Reports, progress bars and frames, with each payload as model, error, answer, tag and store."""
    simulator()
    payloads = numbered()
    with pytest.warns(dfllm.RowsFailedWarning):  # NUL is nothing to send
        frame = pd.DataFrame({"text": payloads}).llm.complete("{{ text }}", model="simulator/echo")
    ending = dfllm.last_run()._ending
    shown = [frame._repr_html_(), dfllm.last_run()._repr_html_()]
    for payload in payloads:
        tally = Tally(1)
        tally.count([Settled(None, Failure("BadRequest", payload, "free"), None)])
        stopped = Failure("BadRequest", payload, "free")
        hostile = ending._replace(tally=tally, model=payload, tag=payload, store=payload, stopped=stopped)
        shown.append(report.Run(hostile)._repr_html_())
        shown += bars(payload, monkeypatch)
    with pd.option_context("display.max_colwidth", None, "display.max_rows", None):
        shown.append(frame._repr_html_())

    found = ran("\n".join(shown), tmp_path)

    assert set() == found
    assert len(payloads) >= 40
    assert all(html.escape(payload.replace("\x00", ""))[:12] in "".join(shown) for payload in payloads[:3])


def test_the_same_payloads_do_run_where_nobody_escapes_them(tmp_path):
    """So the browser would have shown it: most of them run by themselves in a page each of its own."""
    frames = "".join(
        f'<iframe srcdoc="{html.escape(f"<script>function ran(n){{parent.ran(n)}}</script>{payload}")}"></iframe>'
        for payload in numbered()
    )

    found = ran(frames, tmp_path)

    assert len(found) >= 30
