"""Links of the site to files that are not part of it lead to the repository; a hook of mkdocs.yml."""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>(?!\w+:)[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replace relative links to other files than pages by links to ``repo_url``, or by their text."""
    folder = posixpath.dirname(page.file.src_uri)

    def in_repository(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["target"]))
        if files.get_file_from_path(path):
            return link[0]
        repository = config.repo_url.rstrip("/")
        return f"[{link['text']}]({repository}/blob/HEAD/{path})" if repository else link["text"]

    return LINK.sub(in_repository, markdown)
