"""What a newcomer copies out of the pages in docs/ is what the program takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bot.config import Settings, load

DOCS = Path(__file__).parents[2] / "docs"
SNIPPET = re.compile(r"^( *)```toml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    page for page in DOCS.glob("*.md") if SNIPPET.search(page.read_text(encoding="utf-8"))
)
BARE = '[vault]\nkey = "env:VIGILBOT_KEY"\n[web]\npassword = "env:PW"\n'
ENV = {
    "VIGILBOT_KEY": "k",
    "PW": "pw",
    "FEISHU_APP_SECRET": "s",
    "FEISHU_VERIFICATION_TOKEN": "s",
    "FEISHU_ENCRYPT_KEY": "s",
    "DINGTALK_CLIENT_SECRET": "s",
    "SLACK_BOT_TOKEN": "xoxb-1",
    "SLACK_APP_TOKEN": "xapp-1",
    "WECOM_SECRET": "s",
    "WECOM_APP_SECRET": "s",
    "WECOM_APP_TOKEN": "s",
    "WECOM_APP_AES_KEY": "a" * 43,
    "WECOM_ROBOT_URL": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k",
}


def snippets(page: Path) -> list[str]:
    return [found[1] for found in SNIPPET.findall(page.read_text(encoding="utf-8"))]


def copied(page: Path, folder: Path) -> Settings:
    """Load the settings of somebody who has put each key of a page into the section that is named."""
    sections: dict[str, list[str]] = {}
    for text in (BARE, *snippets(page)):
        header = ""
        for line in filter(None, map(str.strip, text.splitlines())):
            if found := re.match(r"\[[^\]]+\]", line):
                header = found[0]
            else:
                assert header, f"{page.name}: which section is this in? {line}"
                sections.setdefault(header, []).append(line)
    whole = "\n".join(line for header, lines in sections.items() for line in (header, *lines))
    file = folder / "vigilbot.toml"
    file.write_text(whole, encoding="utf-8")
    return load(file, ENV)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_names_its_section(page: Path, tmp_path: Path) -> None:
    """Alone it is whole, and all of a page's together are settings that the program takes."""
    for text in snippets(page):
        assert all(isinstance(value, dict) for value in tomllib.loads(text).values()), text
    assert copied(page, tmp_path)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_what_is_to_be_typed_is_there_to_be_typed(page: Path) -> None:
    """`make` puts no `vigilbot` onto anybody's path: in blocks stands what a shell finds."""
    blocks = re.findall(
        r"^ *```\w*\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert not [
        line for text in blocks for line in text.splitlines() if line.startswith("vigilbot ")
    ]


def test_the_whole_page_of_wecom_is_the_bot_with_its_app_and_robot(tmp_path: Path) -> None:
    made = copied(DOCS / "wecom.md", tmp_path)
    wecom = made.platforms.wecom
    assert (wecom.corp_id, wecom.agent_id, made.web.public_url) == (
        "ww...",
        1000002,
        "https://bot.example.com",
    )
    assert wecom.robot_url
