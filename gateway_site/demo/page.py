from __future__ import annotations

import json
from html import escape
from typing import Any

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What reached the demo service</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  table {{ border-collapse: collapse; width: 100%; }}
  th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ddd; }}
  th {{ white-space: nowrap; font-weight: 600; }}
  pre {{ white-space: pre-wrap; }}
  @media (max-width: 40rem) {{ th, td {{ display: block; white-space: normal; overflow-wrap: anywhere; }} }}
  td, pre {{ font-family: ui-monospace, monospace; font-size: 14px; overflow-wrap: anywhere; }}
</style>
<h1>What reached the demo service</h1>
<p>The gateway let this request through. Behind it, the service saw:</p>
<pre>{method} {path}{query}</pre>
<h2>Who the gateway says you are</h2>
<table>{identity}</table>
<h2>All headers</h2>
<table>{headers}</table>
<p>Below this path: <code>/stream</code> sends events, <code>/echo</code> returns a body as it arrives,
<code>/slow?seconds=2</code> takes its time.</p>
</html>
"""


def render(received: dict[str, Any]) -> str:
    return PAGE.format(
        method=escape(received["method"]),
        path=escape(received["path"]),
        query=escape(f"?{received['query']}" if received["query"] else ""),
        identity=_rows(received["identity"].items()),
        headers=_rows(received["headers"].items()),
    )


def _rows(pairs: Any) -> str:
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(_text(value))}</td></tr>" for name, value in pairs)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
