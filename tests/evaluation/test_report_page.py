"""The page: self-contained, escaped, small, and its gallery says what is so."""

import base64
import io
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

from lit_mmembed.data.reader import ShardReader
from lit_mmembed.evaluation.report import report
from lit_mmembed.evaluation.report.collect import collect
from lit_mmembed.evaluation.report.curves import MOST_POINTS, _binned, panels_of
from lit_mmembed.evaluation.report.drawing import ticks
from lit_mmembed.evaluation.report.pictures import LONGEST_SIDE, Pictures
from lit_mmembed.types import Sample, stable_id
from tests.evaluation.report_world import (
    DOCUMENTS,
    QUERIES,
    SCRIPT,
    TASKS,
    loss_of,
    positive_of,
    ranking_of,
    write_data,
    write_run,
)

VOID = {"meta", "link", "img", "br"}
MODELS = ("M_rand", "control", "M_hard")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return report(study, tmp_path_factory.mktemp("report")).read_text()


class Gallery(HTMLParser):
    """Collects the examples: (outcome, query's text, {model: [(class, mark, alt or text)]}), and checks nesting."""

    def __init__(self, text):
        super().__init__()
        self.open, self.examples, self._models = [], [], None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "article":
            self.examples.append({"outcome": "", "query": "", "answers": {}})
        if tag == "li" and self.inside("documents"):
            self.answer.append({"class": attributes["class"], "text": ""})
        if tag == "img" and self.inside("documents"):
            self.answer[-1]["picture"] = attributes["src"]
        if tag not in VOID:
            self.open.append((tag, attributes.get("class", "")))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_data(self, text):
        if not self.examples or not text.strip():
            return
        if self.inside("outcome"):
            self.examples[-1]["outcome"] = text.strip()
        elif self.inside("query"):
            self.examples[-1]["query"] += text
        elif self.open and self.open[-1][0] == "h4":
            self._model = text.strip()
            self.examples[-1]["answers"][self._model] = []
        elif self.inside("documents"):
            self.answer[-1]["text"] += text

    def inside(self, name):
        return any(name in classes.split() for _, classes in self.open)

    @property
    def answer(self):
        return self.examples[-1]["answers"][self._model]


def found(model, qid, seed=0):
    return positive_of(qid) in ranking_of(model, seed)[qid][:5]


def outcome_of(qid):
    first, last = found("M_rand", qid), found("M_hard", qid)
    if first == last:
        return "found by both" if first else "found by neither"
    return "found by M_hard, not by M_rand" if last else "found by M_rand, not by M_hard"


def expected_examples():
    """Per task and outcome that occurs: the query whose id has the smallest hash."""
    order = ("found by M_hard, not by M_rand", "found by M_rand, not by M_hard", "found by neither", "found by both")
    for task in TASKS:
        for outcome in order:
            members = [qid for qid in QUERIES if QUERIES[qid] == task and outcome_of(qid) == outcome]
            if members:
                yield outcome, min(members, key=stable_id)


def test_the_page_asks_for_nothing_from_elsewhere(page) -> None:
    sources = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "http" not in re.sub(r"data:[^\"]+", "", page)
    assert "url(" not in page
    assert "@import" not in page


def test_text_of_the_data_is_escaped(page) -> None:
    assert SCRIPT not in page
    assert "<script" not in page
    assert "<b>text" not in page
    assert "&lt;b&gt;text&lt;/b&gt;" in page
    assert "name: &lt;M_hard&gt;" in page


def test_a_script_in_a_query_is_shown_as_text(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("lit_mmembed.evaluation.report.selection.stable_id", lambda name: int(name[3:]))
    page = report(write_run(tmp_path / "toy", seeds=(0,)), tmp_path / "out").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;query&#39;)&lt;/script&gt; &amp; &#34;more&#34;" in page


def test_queries_are_chosen_by_rule_from_every_outcome(page) -> None:
    examples = Gallery(page).examples
    expected = list(expected_examples())
    assert [example["outcome"] for example in examples] == [outcome for outcome, _ in expected]
    assert len({outcome for outcome, _ in expected}) > 2


def test_documents_are_marked_relevant_or_of_the_wrong_modality_in_words_and_class(page) -> None:
    words = {"relevant": "✓ relevant", "wrong": "✗ {}, not {}", "other": "· not relevant"}
    seen = set()
    for example, (_, qid) in zip(Gallery(page).examples, expected_examples(), strict=True):
        wanted = QUERIES[qid].candidate_modality
        assert list(example["answers"]) == list(MODELS)
        for model, documents in example["answers"].items():
            ranked = ranking_of(model, 0)[qid][:5]
            assert len(documents) == 5
            for document, did in zip(documents, ranked, strict=True):
                wrong = "wrong" if DOCUMENTS[did] != wanted else "other"
                mark = "relevant" if did == positive_of(qid) else wrong
                assert document["class"] == mark
                assert words[mark].format(DOCUMENTS[did], wanted) in document["text"]
                assert ("picture" in document) == (DOCUMENTS[did] == "image")
                seen.add(mark)
    assert seen == set(words)


def test_the_instruction_of_the_policy_is_shown(page) -> None:
    assert "Find toy_task0." in page
    assert "Seek toy_task0." not in page


def test_only_the_samples_shown_are_read(study, tmp_path, monkeypatch) -> None:
    rows = []
    read = ShardReader.__getitem__
    monkeypatch.setattr(ShardReader, "__getitem__", lambda self, row: rows.append(row) or read(self, row))
    report(study, tmp_path / "out")
    assert len(rows) == len(list(expected_examples())) * (1 + 5 * len(MODELS))


def noisy_picture(side=500):
    stream = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(0).randbytes(3 * side * side)).save(stream, format="PNG")
    return stream.getvalue()


def test_a_large_picture_becomes_a_thumbnail_and_a_small_one_stays() -> None:
    pictures = Pictures()
    large = noisy_picture()
    uri = pictures.uri(large)
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 30_000 < len(large)
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert max(shown.size) == LONGEST_SIDE
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, format="PNG")
    assert base64.b64decode(pictures.uri(stream.getvalue()).partition(",")[2]) == stream.getvalue()


def test_pictures_stop_when_the_budget_is_spent() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, format="PNG")
    pictures = Pictures(left=2 * len(stream.getvalue()) + 60)
    shown = [pictures.uri(stream.getvalue()) for _ in range(4)]
    assert [uri is not None for uri in shown] == [True, True, False, False]
    assert pictures.left_out == 2


def damaged_picture():
    """Its header and its end are right, its pixels are not."""
    whole = noisy_picture(60)
    return whole[:100] + bytes(len(whole) - 200) + whole[-100:]


@pytest.mark.parametrize("broken", [b"", b"no picture", noisy_picture(60)[:2000], damaged_picture()])
def test_a_picture_that_cannot_be_read_is_not_shown(broken) -> None:
    assert Pictures().uri(broken) is None


def test_the_page_shows_words_for_a_damaged_picture(study, tmp_path) -> None:
    run = shutil.copytree(study, tmp_path / "toy")
    shutil.rmtree(run / "shared/data/shards")
    write_data(
        run / "shared/data/shards",
        lambda s: s if s.image is None else Sample(s.id, None, damaged_picture(), s.modality),
    )
    assert "picture not shown" in report(run, tmp_path / "out").read_text()


def test_a_training_curve_is_the_mean_of_the_seeds_and_its_band_their_range(study) -> None:
    panels = {panel.measure: panel for panel in panels_of(collect(study))}
    assert set(panels) == {"training loss", "validation hit@5, mean of tasks"}
    assert [curve.model for curve in panels["training loss"].curves] == list(MODELS)
    for curve in panels["training loss"].curves:
        assert curve.seeds == 3
        for place, step in enumerate((10, 20, 30)):
            values = [loss_of(seed, step) for seed in range(3)]
            assert curve.steps[place] == step
            assert curve.mean[place] == pytest.approx(sum(values) / 3)
            assert (curve.low[place], curve.high[place]) == (min(values), max(values))


def test_long_logs_are_averaged_into_few_points() -> None:
    values = [float(value) for value in range(1000)]
    short = _binned(values)
    assert len(short) == MOST_POINTS
    assert short[:2] == [2.0, 7.0]
    assert _binned(values[:MOST_POINTS]) == values[:MOST_POINTS]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.031, 0.07), (-3.2, 9.9), (5.0, 5.0), (0.0, 0.0), (1e-7, 3e5)])
def test_ticks_are_few_and_cover_the_range(low, high) -> None:
    places = ticks(low, high)
    assert places[0] <= low
    assert places[-1] >= high
    assert 2 <= len(places) <= 8
    assert places == sorted(set(places))


def test_importing_the_report_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'jinja2', 'matplotlib', 'PIL', 'torch', 'pyarrow'}"
    code = f"import sys, lit_mmembed.evaluation.report; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
