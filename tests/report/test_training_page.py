"""The page of a training whose folder somebody else wrote."""

import json
import math
from html.parser import HTMLParser

import pytest

from nucleate.errors import BadInput
from nucleate.report.training_page import write_page

NASTY = '"></svg></script><script>alert("x")</script>$\\frac{<&\u2028'


def events(text="Cu"):
    errors = {"loss": 1.0, "energy_rmse": 0.1, "force_rmse": None, "informants": {text: 0.5, "O": 0.5}}
    layer = {"counts": [1, 2, 3], "low": -1.0, "high": 1.0, "mean": 0.0, "std": 1.0}
    return [
        {
            "event": "start", "model": text, "parameters": 9, "members": 2, "species": [text, "O"], "training": 8, "validation": 1,
            "split_by": text, "notes": [text],
        },
        {"event": "step", "step": 1, "loss": 1.0, "rate": 0.1, "temperature": 0.01, "stage": 0},
        {"event": "step", "step": 2, "loss": None, "rate": 0.1, "temperature": 0.01, "stage": 0},
        {"event": "evaluation", "step": 2, "training": errors, "noise": {"scale": 3.0}, "weights": {text: layer}},
        {"event": "steer", "step": 2, "command": {"do": text, "value": 0.1}, "refused": text},
        {"event": "evaluation", "step": 3, "training": errors, "validation": errors, "noise": {"scale": None}, "weights": {text: layer}},
        {"event": "finished", "step": 3, "why": text},
    ]  # fmt: skip


def write(folder, lines):
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "fit.toml").write_text(f"# {NASTY}\n")
    (folder / "parity.json").write_text(json.dumps({"training": {"energy": [[1.0, 1.1]], "force": []}, "validation": {}}))


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def test_text_of_a_folder_opens_no_tag(tmp_path):
    write(tmp_path, events(NASTY))
    page = Tags()
    page.feed(write_page(tmp_path).read_text())
    plain = tmp_path / "plain"
    plain.mkdir()
    write(plain, events())
    other = Tags()
    other.feed(write_page(plain).read_text())
    assert "script" not in page.found
    assert page.found.count("svg") == other.found.count("svg") > 4


@pytest.mark.parametrize(
    ("number", "path", "value"),
    [
        (0, ["species"], "Cu"),
        (0, ["parameters"], "many"),
        (0, ["model"], "x" * 100_000),
        (1, ["step"], -1),
        (1, ["loss"], "low"),
        (1, ["temperature"], math.inf),
        (3, ["training"], None),
        (3, ["training", "loss"], 1e300),
        (3, ["noise"], []),
        (3, ["weights", "Cu", "counts"], []),
        (3, ["weights", "Cu", "low"], None),
        (4, ["command"], [1]),
        (5, ["validation"], 3),
        (6, ["why"], 3),
    ],
)
def test_a_damaged_event_is_named(number, path, value, tmp_path):
    lines = events()
    place = lines[number]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    write(tmp_path, lines)
    with pytest.raises(BadInput, match="damaged") as caught:
        write_page(tmp_path)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("content", ["", "[", "3", '{"training": 3}', '{"training": {"energy": [[1, "x"]]}}', "[" * 100_000])
def test_damaged_pairs_are_named(content, tmp_path):
    write(tmp_path, events())
    (tmp_path / "parity.json").write_text(content)
    with pytest.raises(BadInput, match=r"parity\.json"):
        write_page(tmp_path)
