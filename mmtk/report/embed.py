"""Scripts and data inside the page, so that nothing but the sections' own scripts can run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence

from markupsafe import Markup

# ``<`` could end the element; the line separators end a line of JavaScript; surrogates are not UTF-8.
_UNSAFE = re.compile("[<>&\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_ENDS_SCRIPT = re.compile("</script|<!--", re.IGNORECASE)


def embedded_json(value: object) -> Markup:
    """Return ``value`` as JSON that can stand in a ``<script>``, or behind ``=`` in JavaScript."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def embedded_script(script: str) -> Markup:
    """Return a section's script as it may stand in a ``<script>``."""
    assert not _ENDS_SCRIPT.search(script), "a section's script would end its own element"
    return Markup(script.replace("\r\n", "\n"))  # as the browser reads it, and so hashes it


def policy(scripts: Sequence[str], files: bool) -> str:
    """Return the page's Content Security Policy: only ``scripts`` run.

    With ``files`` beside the page, those scripts may add further ones; markup still may not.
    """
    rules = ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    rules += ["base-uri 'none'", "form-action 'none'"]
    if scripts:
        sources = [f"'sha256-{_digest(script)}'" for script in scripts]
        sources += ["'strict-dynamic'"] if files else []
        rules.append(f"script-src {' '.join(sources)}")
    return "; ".join(rules)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
