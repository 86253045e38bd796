"""What the documentation site needs beyond docs/: the README and the changelog as pages, links that leave docs/.

A hook of MkDocs; mkdocs.yml names it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FROM_THE_ROOT = {"index.md": "README.md", "changes.md": "CHANGELOG.md"}
LINK = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|#|mailto:)([^)\s]+)(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose text stands in the root of the repository."""
    root = Path(config.config_file_path).parent
    for page, source in FROM_THE_ROOT.items():
        text = (root / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to what is a page stay on the site, all others lead to the repository."""
    at_root = page.file.src_uri in FROM_THE_ROOT
    folder = "" if at_root else posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def led(link: re.Match[str]) -> str:
        target, _, anchor = link[2].partition("#")
        path = posixpath.normpath(posixpath.join(folder, target))
        inside = posixpath.relpath(path, "docs")
        page_of = {"docs/" + file.src_uri: file.src_uri for file in files}
        if path in page_of or f"{path}/README.md" in page_of:
            found = page_of.get(path) or page_of[f"{path}/README.md"]
            place = posixpath.relpath(found, posixpath.dirname(page.file.src_uri) or ".")
            return link[1] + place + (f"#{anchor}" if anchor else "")
        assert inside.startswith("..") or path not in page_of
        return f"{link[1]}{config.repo_url.rstrip('/')}/blob/main/{path}"

    return LINK.sub(led, markdown)
