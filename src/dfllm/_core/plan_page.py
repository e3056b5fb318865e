"""A plan as a page for notebooks: no script, no style sheet, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<div style="font-family:system-ui,sans-serif;font-size:13px;color:inherit;background:transparent;line-height:1.5">
<div><b>dfllm plan</b> · {{ model }} · nothing is sent yet</div>
<table style="border-collapse:collapse;margin:4px 0;color:inherit;background:transparent">
<tr>
{% for name, value, colour in counts %}
<td style="padding:2px 14px 2px 0;text-align:left"><span style="color:{{ colour }};font-weight:600;font-size:15px">\
{{ value }}</span><br>{{ name }}</td>
{% endfor %}
</tr>
</table>
<table style="border-collapse:collapse;margin:4px 0;color:inherit;background:transparent">
{% for name, low, likely, high in money %}
<tr><td style="padding:1px 14px 1px 0;text-align:left;opacity:.8">{{ name }}</td>
<td style="padding:1px 14px 1px 0;text-align:right;font-weight:600">{{ likely }}</td>
<td style="padding:1px 0;text-align:left;opacity:.8">{{ low }}{% if high %}, {{ high }}{% endif %}</td></tr>
{% endfor %}
</table>
<div style="opacity:.8">{{ price }}</div>
{% for note in notes %}
<div style="opacity:.8">{{ note }}</div>
{% endfor %}
{% if models %}
<table style="border-collapse:collapse;margin:4px 0;color:inherit;background:transparent">
{% for model, known, missing, cost in models %}
<tr{% if loop.first %} style="opacity:.8"{% endif %}><td style="padding:1px 14px 1px 0;text-align:left">{{ model }}</td>
<td style="padding:1px 14px 1px 0;text-align:right">{{ known }}</td>
<td style="padding:1px 14px 1px 0;text-align:right">{{ missing }}</td>
<td style="padding:1px 0;text-align:right">{{ cost }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if problems %}
<details><summary>{{ failed }} rows that cannot be sent</summary>
{% for position, error in problems %}
<div style="white-space:pre-wrap">row {{ position }}: {{ error }}</div>
{% endfor %}
</details>
{% endif %}
{% if previews %}
<details><summary>first prompts</summary>
{% for messages in previews %}
<div style="border-left:3px solid rgba(128,128,128,.4);margin:4px 0;padding-left:8px">
{% for message in messages %}
<div style="text-align:left;white-space:pre-wrap"><span style="opacity:.6">{{ message.role }}</span> \
{{ message.content }}</div>
{% endfor %}
</div>
{% endfor %}
</details>
{% endif %}
</div>"""
)


def page(facts: Mapping[str, Any]) -> str:
    """Return the page of these facts."""
    return _PAGE.render(facts)
