"""The run report as HTML that needs no script and no style sheet.

An untrusted notebook drops ``<style>``, ``<script>`` and ``<svg>``; inline styles, tables and ``<details>`` stay. All
text is escaped: model output is data, wherever it is shown.
"""

from __future__ import annotations

import jinja2

PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
<div style="font-family:system-ui,sans-serif;font-size:13px;color:inherit;background:transparent;line-height:1.5">
<div><b>dfllm run</b> · {{ model }} · {{ state }} · {{ seconds }}</div>
<table style="border-collapse:collapse;margin:4px 0;color:inherit;background:transparent">
<tr>
{% for name, value, colour in counts %}
<td style="padding:2px 14px 2px 0;text-align:left"><span style="color:{{ colour }};font-weight:600;font-size:15px">\
{{ value }}</span><br>{{ name }}</td>
{% endfor %}
</tr>
</table>
{% if rows %}
<div style="display:flex;width:320px;height:8px;background:rgba(128,128,128,.25)">
{% for name, value, colour in bar %}
<div title="{{ name }}" style="width:{{ value }}%;background:{{ colour }}"></div>
{% endfor %}
</div>
{% endif %}
<div style="opacity:.8">{{ sent }}{% if paid %} · {{ paid }}{% endif %}</div>
{% if saved %}
<div style="opacity:.8">{{ saved }}</div>
{% endif %}
{% if speed %}
<div style="opacity:.8">{{ speed }}</div>
{% endif %}
{% if unsure %}
<div style="color:#b26a00">{{ unsure }}</div>
{% endif %}
{% if models %}
<table style="border-collapse:collapse;margin:4px 0;color:inherit;background:transparent">
{% for cells in models %}
<tr{% if loop.first %} style="opacity:.8"{% endif %}>
{% for cell in cells %}
<td style="padding:1px 14px 1px 0;text-align:{{ 'left' if loop.first else 'right' }}">{{ cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</table>
{% endif %}
{% if errors %}
<details><summary>{{ failed }} rows without an answer</summary>
<table style="border-collapse:collapse;color:inherit;background:transparent">
{% for count, text in errors %}
<tr><td style="padding:1px 10px 1px 0;text-align:right;vertical-align:top">{{ count }}</td>\
<td style="text-align:left;white-space:pre-wrap">{{ text }}</td></tr>
{% endfor %}
{% if more %}
<tr><td></td><td>{{ more }} kinds more; see .failures</td></tr>
{% endif %}
</table></details>
{% endif %}
<div style="opacity:.6;font-size:11px">store: {{ store }}</div>
</div>"""
)
