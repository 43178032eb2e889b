"""The whole of dev v1.1 on one page: a published system's answers with a made-up n-best around them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.report import write_report

from . import cases
from .test_browser import Opened

MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("full")
    data = real_data / "squad" / "dev-v1.1.json"
    examples = load_examples(data)
    published = json.loads((real_data / "squad" / "predictions-v1.1-bert-ensemble.json").read_text(encoding="utf-8"))
    answers = {one.id: _in_context(one, published[one.id]) for one in examples}
    generator = random.Random(0)
    n_best = {one.id: cases.made_up_n_best(one, answers[one.id], generator, 20) for one in examples}
    run = cases.write_run(folder / "run", data, examples, answers, n_best, num_steps=16_620)
    return write_report([run])


def _in_context(example: Example, answer: str) -> str:
    """Return an answer that is in the context, else (a few that a tokenizer changed) the gold."""
    return answer if answer and answer in example.context else example.golds[0].text


@pytest.mark.real_data
def test_page_stays_small(full_page: Path) -> None:
    assert full_page.stat().st_size < MOST_BYTES


@pytest.mark.real_data
def test_published_card_is_shown_beside_the_result(full_page: Path) -> None:
    html = full_page.read_text(encoding="utf-8")
    assert "Palak/albert-base-v2_squad" in html
    assert "10,808" in html
    assert "published F1 90.11" in html


@pytest.mark.real_data
def test_every_question_can_be_found(browser: Any, full_page: Path) -> None:
    with Opened(browser, full_page) as opened:
        assert opened.texts("#browser-summary")[0].startswith("10,570 of 10,570 questions")
        assert len(opened.texts("#browser-list > li")) == 25
        opened.page.fill("#browser [name=text]", "56be4db0acb8001400a502ec")
        opened.page.locator("#browser-summary", has_text="1 of 10,570").wait_for()
        assert opened.texts("#browser-list .asked") == ["Which NFL team represented the AFC at Super Bowl 50?"]
        opened.page.locator("#browser-list button.question").click()
        assert opened.texts("#browser-list .context mark.gold.answer") == ["Denver Broncos"]
        assert opened.messages == []
