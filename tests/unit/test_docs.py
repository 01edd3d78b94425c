"""Documentation that cannot rot: pages made from the code are current, and examples are run."""

import re
import runpy
from pathlib import Path

from gateway import config

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_page_is_what_the_code_says() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))["configuration"]()

    assert (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8") == made


def test_every_configuration_in_the_readme_is_accepted() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)

    parsed = [config.parse(example) for example in examples]

    assert len(parsed) == 1
    assert "gpt-4o-mini" in parsed[0].upstreams["openai"].models


def test_every_file_that_the_readme_links_to_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]

    assert [link for link in links if not (ROOT / link).exists()] == []
