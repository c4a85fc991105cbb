"""Every relative link in the documents leads to a file that is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")


def broken_links(root: Path) -> list[str]:
    """`document: target` for each relative link of a document under `root` that leads nowhere."""
    documents = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    return [
        f"{document.relative_to(root)}: {target}"
        for document in sorted(documents)
        for target, _ in _LINK.findall(document.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (document.parent / target).exists()
    ]


if __name__ == "__main__":
    found = broken_links(Path(__file__).parent.parent)
    print("\n".join(found) or "all links lead somewhere")
    sys.exit(bool(found))
