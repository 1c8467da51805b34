"""Lets MkDocs build the site from pages that are also read in the repository.

Pages outside of docs/ keep their path. Pages in docs/ move up one folder. Relative links are adapted.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ELSEWHERE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "lua/README.md",
    "bench/README.md",
    "bench/results/results.md",
)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All pages of docs/, and the others with the pictures beside them."""
    pictures = (str(path.relative_to(ROOT)) for path in (ROOT / "bench" / "results").glob("*.svg"))
    for path in (*ELSEWHERE, *pictures):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with its links as they are on the site."""
    here = page.file.src_uri
    in_repository = here if here in ELSEWHERE else f"docs/{here}"

    def turned(link: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(in_repository), link[1]))
        return os.path.relpath(target.removeprefix("docs/"), os.path.dirname(here) or ".")

    return _LINK.sub(turned, markdown)
