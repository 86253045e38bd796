"""What the documentation site needs beyond docs/: the README and the changelog as pages, links that leave docs/.

A hook of MkDocs, named in mkdocs.yml. Lists, tables and code that follow a paragraph are set off by a blank line, which
MkDocs needs and other readers of Markdown do not.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FROM_THE_ROOT = {"index.md": "README.md", "changes.md": "CHANGELOG.md"}
BLOCK = re.compile(r"- |\d+\. |\| |```")
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose text stands in the root of the repository."""
    root = Path(config.config_file_path).parent
    for page, source in FROM_THE_ROOT.items():
        files.append(File.generated(config, page, content=(root / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page as MkDocs reads it; links to what is not on the site lead to the repository."""
    here = page.file.src_uri
    source = FROM_THE_ROOT.get(here, f"docs/{here}")
    shown = {f"docs/{file.src_uri}": file.src_uri for file in files if file.src_uri not in FROM_THE_ROOT}
    shown |= {path: name for name, path in FROM_THE_ROOT.items()}

    def led(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        for one in (path, f"{path}/README.md"):
            if one in shown:
                return posixpath.relpath(shown[one], posixpath.dirname(here) or ".")
        return f"{config.repo_url}/blob/main/{path}"

    return LINK.sub(led, _set_off(markdown))


def _set_off(markdown: str) -> str:
    lines: list[str] = []
    in_code = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        begins = BLOCK.match(line) and before and not before.startswith((" ", "|")) and not BLOCK.match(before)
        if begins and not in_code:
            lines.append("")
        in_code ^= line.lstrip().startswith("```")
        lines.append(line)
    return "\n".join(lines)
