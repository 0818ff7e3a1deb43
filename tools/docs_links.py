"""MkDocs hook: links of pages to files of the repository outside docs/.

They work on a forge and in a checkout. In the site they lead to the forge where REPOSITORY_URL names one, and are plain
text otherwise. A link to a file that is not there is a warning, which ends a strict build.
"""

import logging
import os
import re
from pathlib import Path
from typing import Any

_log = logging.getLogger("mkdocs.plugins.docs_links")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Rewrite the links of a page."""
    docs = Path(config.docs_dir).resolve()
    here = Path(page.file.abs_src_path).resolve().parent

    def rewritten(link: re.Match[str]) -> str:
        if "://" in link["target"]:
            return link[0]
        target = Path(os.path.normpath(here / link["target"]))
        if target.is_relative_to(docs):
            return link[0]
        if not target.exists():
            _log.warning("%s: the link to %s leads nowhere", page.file.src_path, link["target"])
        if not config.repo_url:
            return link["text"]
        kind = "tree" if target.is_dir() else "blob"
        place = target.relative_to(docs.parent).as_posix()
        return f"[{link['text']}]({config.repo_url.rstrip('/')}/{kind}/main/{place}{link['anchor'] or ''})"

    return _LINK.sub(rewritten, markdown)
