import base64
import csv
import itertools
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from browser import needs_chromium, opened
from small_run import CATALOGUE, SHARD, TABLE, convnova, finish

from convnova.config.load import load_config, save
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import write_metrics
from convnova.reporting.report import write_report

OUT = Path("results/small/report.html")
JOB = Job("nucleotide_transformer", "H3", "cnn", "released", 2)
METRICS = Path(JOB.folder("small")) / "metrics.json"


def made() -> str:
    """The page of the run in the working directory."""
    write_report(load_config("results/small/config.yaml"), CATALOGUE / "published.csv", OUT)
    return OUT.read_text()


class Page:
    """Links, attributes and, by id, texts of a page whose tags are closed and do not cross."""

    def __init__(self, text: str):
        text = re.sub(r"<(style|script)>.*?</\1>|<(meta|wbr|br|!doctype).*?>", "", text, flags=re.DOTALL)
        tree = ElementTree.fromstring(
            re.sub("(<(?:img|link|input)[^>]*)>", r"\1/>", text.replace("<details open>", "<details>"))
        )
        self.tags = [(element.tag, element.attrib) for element in tree.iter()]
        self.links = [attributes["href"] for tag, attributes in self.tags if tag == "a"]
        with_id = [element for element in tree.iter() if "id" in element.attrib]
        self.texts = {element.get("id"): "".join(element.itertext()) for element in with_id}
        assert len(self.texts) == len(with_id)


@pytest.fixture
def page(small) -> Page:
    return Page(made())


def test_every_link_on_the_page_leads_somewhere_and_nothing_outside_is_needed(page):
    inner = [unquote(link[1:]) for link in page.links if link.startswith("#")]
    assert len(inner) > 20 and set(inner) <= set(page.texts)
    for tag, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:") and tag not in ("iframe", "object")
        assert tag != "link" or attributes["href"] == "data:,"
    assert "<script " not in OUT.read_text() and not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", OUT.read_text())


def test_heads_go_down_by_one_level_and_pictures_and_fields_have_words(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and max(b - a for a, b in itertools.pairwise(levels)) == 1
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")
    assert re.search(r"<label>[^<]+<input", OUT.read_text())


def test_the_first_screen_is_the_result(page):
    text = OUT.read_text()
    order = [
        'class="bar"',
        'class="verdict"',
        "table-nucleotide_transformer",
        "figure-nucleotide_transformer",
        "What was run</h2>",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_files_to_save_are_those_of_the_run(page):
    saved = {attributes["download"]: attributes["href"] for _, attributes in page.tags if "download" in attributes}
    names = ("nucleotide_transformer", "overview", "ranks", "differences", "learning", "pretraining")
    figures = {f"{name}.{form}" for name in names for form in ("svg", "pdf", "png")}
    tables = {
        "nucleotide_transformer.tsv", "protocols.tsv", "comparisons.tsv", "convnova_table_1.tsv",
        "test_rows.tsv",
    }  # fmt: skip
    assert set(saved) == figures | tables
    for name, address in saved.items():
        folder = "tables" if name.endswith(".tsv") else "figures"
        assert base64.b64decode(address.split("base64,")[1]) == Path(f"results/small/{folder}/{name}").read_bytes()


def test_each_score_leads_to_its_seeds_code_data_and_commands(page):
    scores = [link[1:] for link in page.links if re.fullmatch(r"#nucleotide_transformer\.\d+", link)]
    cells = list(csv.DictReader(Path(TABLE).read_text().splitlines(), delimiter="\t"))
    assert len(scores) == len(cells) == 4
    for place, cell in zip(scores, cells, strict=True):
        text = page.texts[place]
        assert f"{float(cell['mean']):.3f} ± {float(cell['sd']):.3f}" in text
        for seed in cell["seeds"].split(","):
            folder = f"results/small/runs/nucleotide_transformer/H3/{cell['model']}/{cell['protocol']}/seed={seed}"
            metrics = json.loads(Path(folder, "metrics.json").read_text())
            made_by = metrics["provenance"]
            parts = (f"{metrics['mcc']:.6f}", f"--force {folder}/metrics.json", made_by["command"], made_by["commit"])
            assert all(part in text for part in parts)
            for role, entry in made_by["inputs"].items():
                title = {"task": "the data of nucleotide_transformer/H3", "weights": "the pretraining convnova"}[role]
                assert f"{title} (sha256 {entry['sha256'][:12]}" in text
            assert ("the pretraining" in text) == (cell["model"] == "convnova")


def test_data_leads_to_addresses_and_checksums(page):
    text = page.texts["data.nucleotide_transformer.H3"]
    task = json.loads(METRICS.read_text())["provenance"]["inputs"]["task"]
    assert task["path"] in text and task["sha256"] in text and "unchanged since" in text
    assert "licence: CC BY-NC-SA 4.0" in text
    assert "https://storage.googleapis.com/basenji_barnyard2/hg38.ml.fa.gz" in page.texts["pretraining.convnova"]


def test_what_was_run_and_what_it_says(page):
    text = OUT.read_text()
    for part in (
        "Nothing: all 9 results of the config (fine-tunings and pretrainings) are in.",
        "Made from 8 results by convnova", "8 of 8 scores are in; best by heldout, in rows of 1:",
        "simulated, in place of the real files (simulation seed 1)", "CNN: from scratch, ",
        "ConvNova: pretrained, width 4, kernel 3",
    ):  # fmt: skip
        assert part in text
    assert text.count("Simulated") >= 5


def test_sizes_of_models_are_named_and_large_files_are_not_held(small, monkeypatch):
    monkeypatch.setattr("convnova.reporting.report.LARGEST_DOWNLOAD", 1000)
    other = METRICS.parent.with_name("seed=1") / METRICS.name
    for path, parameters in ((METRICS, 7), (other, 1_000_000)):
        write_metrics(path.parent, json.loads(path.read_text()) | {"parameters": parameters})
    text = made()
    assert ", 7 to 1,000,000 parameters" in text
    assert "PDF: <code>results/small/figures/nucleotide_transformer.pdf</code>" in text
    assert text.count('src="data:image/svg+xml;base64,') == 6


def test_a_real_run_is_not_called_simulated(small):
    config = Path("results/small/config.yaml")
    config.write_text(config.read_text().replace("simulate:\n  seed: 1\n", ""))
    for path in Path("results/small/runs").rglob("metrics.json"):
        write_metrics(path.parent, json.loads(path.read_text()) | {"simulated": False})
    finish()
    text = made()
    assert "imulated" not in text.replace("resources/small", "")
    assert "real; pretrained on hg38" in text and "published" in text


def test_what_is_missing_is_named_with_its_error(small):
    assert made() == made()  # the same results give the same bytes
    METRICS.unlink()
    log = Path("results/small/logs/finetune/nucleotide_transformer/H3/cnn/released/seed=2.log")
    log.write_text("12:00:00 epoch 1\n12:00:09 error: the loss is <nan>\n")
    Path("results/small/audit/nucleotide_transformer/H3.json").unlink()
    never_begun = "nucleotide_transformer/H3/convnova/heldout/seed=2"
    shutil.rmtree(f"results/small/runs/{never_begun}")
    Path(f"results/small/logs/finetune/{never_begun}.log").unlink()
    finish()
    Path("results/small/figures/pretraining.svg").unlink()
    Path("results/small/tables/test_rows.tsv").unlink()
    page = Page(made())
    text = OUT.read_text()
    assert f"<li>{never_begun}</li>" in text
    assert "7 of 9 results of the config (fine-tunings and pretrainings) are in." in text
    assert "(n=1 of 2)" in page.texts["nucleotide_transformer.4"]
    assert "12:00:09 error: the loss is &lt;nan&gt;" in text and str(log) in text
    for path in ("figures/pretraining.svg", "tables/test_rows.tsv", "audit/nucleotide_transformer/H3.json"):
        assert f"<code>results/small/{path}</code> is not there" in text
    assert "There is no audit yet." in text and not {"figure-pretraining", "table-test_rows"} & set(page.texts)
    assert {unquote(link[1:]) for link in page.links if link.startswith("#")} <= set(page.texts)


def with_models(*models: str) -> str:
    """The page after all other models were taken out of the config and the workflow's steps were run again."""
    file = "results/small/config.yaml"
    config = load_config(file)
    save(config.model_copy(update={"models": {name: config.models[name] for name in models}}), Path(file))
    words = ("--run", file, "--published", str(CATALOGUE / "published.csv"))
    assert convnova("tables", *words, "scores", "comparisons") == convnova("figures", *words) == 0
    return made()


def test_of_a_model_taken_out_of_the_config_nothing_is_shown(small):
    page = Page(with_models("convnova"))
    assert not {"table-comparisons", "table-test_rows", "figure-ranks", "figure-differences"} & set(page.texts)
    assert "CNN" not in page.texts["table-nucleotide_transformer"]


def test_pairs_of_models_over_test_rows_are_linked_but_those_of_an_earlier_config_not_shown(small):
    rows, before = Path("results/small/tables/test_rows.tsv"), made()
    lines = list(csv.DictReader(rows.read_text().splitlines(), delimiter="\t"))
    assert [line["protocol"] for line in lines] == ["heldout", "released"]
    page = Page(before)
    assert "#table-test_rows" in page.links and all(line["sentence"] in page.texts["table-test_rows"] for line in lines)
    old = rows.read_text().splitlines(keepends=True)[1].split("\t")
    others = ["\t".join([*old[:4], "legnet", *old[5:]]), "\t".join([old[0], "H4", *old[2:]])]
    rows.write_text(rows.read_text() + "".join(others))
    tables = [re.search('<section id="table-test_rows">.*?</table>', text, re.DOTALL)[0] for text in (before, made())]
    assert tables[0] == tables[1]


def test_data_that_changed_since_stands_out(small):
    Path(SHARD).write_bytes(Path(SHARD).read_bytes()[:-1] + b"\1")
    content = json.loads(METRICS.read_text())
    content["provenance"]["inputs"]["task"]["sha256"] = 64 * "0"
    write_metrics(METRICS.parent, content)
    text = made()
    assert '<strong class="changed">CHANGED SINCE: its sha256 is now ' in text
    assert "Results were made from 2 different files of this name." in text


def test_the_command_writes_it_and_names_what_it_needs(small, capsys):
    words = ("--run", "results/small/config.yaml", "--published", str(CATALOGUE / "published.csv"))
    assert convnova("report", *words, "--out", "by_hand") == 0
    assert Path("by_hand/report.html").read_text() == made()
    METRICS.unlink()
    with pytest.raises(ConvNovaError, match="metrics.json: "):
        made()
    Path("results/small/tables/scores.tsv").unlink()
    assert convnova("report", *words, "--out", "by_hand") == 1
    assert "make it with `convnova tables scores`" in capsys.readouterr().err


SCRIPT = """
const result = {};
const scores = document.querySelector("#table-nucleotide_transformer table");
scores.querySelectorAll("thead button")[2].click();
result.sorted = scores.querySelector("[aria-sort]").textContent;
result.others = document.querySelectorAll("[aria-sort]").length;
const link = scores.querySelector("tbody a");
result.before = document.querySelector(link.getAttribute("href").replace(".", "\\\\.")).open;
link.click();
addEventListener("hashchange", () => setTimeout(() => {
  const target = document.getElementById(location.hash.slice(1));
  result.after = target.open && target.parentElement.open;
  result.top = Math.abs(target.getBoundingClientRect().top) < innerHeight;
  result.width = document.documentElement.scrollWidth - innerWidth;
  result.figures = [...document.images].filter(image => image.complete && image.naturalWidth > 100).length;
  result.loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  document.title = JSON.stringify(result);
}, 50));
"""


def in_browser(path: Path, folder: Path, width: int) -> tuple[dict, str]:
    """What the script found out about a page, in a frame as wide as a phone or a desktop, and what the console said."""
    framed = f"""<iframe src="{path.as_uri()}" style="border:0;width:{width}px;height:900px"></iframe><script>
const frame = document.querySelector("iframe");
const wait = () => frame.contentDocument.title.startsWith("{{")
  ? document.title = frame.contentDocument.title : setTimeout(wait, 20);
frame.onload = wait;
</script>"""
    (folder / "frame.html").write_text(framed)
    dom, console = opened(folder / "frame.html", folder)
    title = re.search(r"<title>(\{.*?\})</title>", dom)
    assert title, dom[-500:] + console
    return json.loads(title[1]), console


@needs_chromium
@pytest.mark.parametrize("width", [390, 1400])
def test_in_a_browser_it_sorts_opens_what_is_asked_for_and_fits(small, width):
    text = made().replace("</body>", f"<script>{SCRIPT}</script></body>")
    Path("page.html").write_text(text)
    result, console = in_browser(small / "page.html", small, width)
    assert console == ""
    assert result["sorted"] == "heldout" and result["others"] == 1
    assert (result["before"], result["after"], result["top"]) == (False, True, True)
    assert result["width"] <= 0 and result["figures"] == 6 and result["loaded"] == []
