import json

import pytest

from hub.publish import evaluation_table
from train.evaluate.report import Report


def test_report_as_text_and_json(tmp_path):
    report = Report("A title", "python -m something", "the mean face")
    report.add("error", 3.14159, 12.0, "%", 10)
    report.add("turn", float("nan"), 30.5, "°", 0)
    report.add("learnt", 35, 0, "", 10)
    report.details["parts"] = {"jaw": 0.5, "nose": float("inf")}
    lines = str(report).splitlines()
    assert lines[0] == "A title" and lines[-1] == "baseline: the mean face"
    assert [line.split() for line in lines[2:5]] == (
        [["error", "3.14", "%", "12", "%", "10"], ["turn", "-", "30.5°", "0"], ["learnt", "35", "0", "10"]]
    )
    assert len({len(line) for line in lines[1:5]}) == 1

    report.save(tmp_path / "new" / "report.json")
    saved = json.loads((tmp_path / "new" / "report.json").read_text())
    assert saved["rows"][0] == {
        "figure": "error",
        "result": 3.14159,
        "baseline": 12.0,
        "unit": "%",
        "samples": 10,
    }
    assert saved["rows"][1]["result"] is None and saved["details"]["parts"] == {"jaw": 0.5, "nose": None}
    assert saved["command"] == "python -m something"
    assert evaluation_table(saved, "report")["columns"] == ["figure", "result", "baseline", "unit", "samples"]
    assert report["learnt"].result == 35
    with pytest.raises(KeyError):
        report["unknown"]


def test_more_columns_than_one_baseline(tmp_path):
    report = Report("A title", "", "nothing moves")
    report.add("similarity", 0.9, 0.5, "", 10, {"paper": 0.78, "warp": 0.7})
    report.add("distance", 2.0, 5.0, "px", 10, {"warp": 3.0})
    lines = [line.split() for line in str(report).splitlines()]
    assert lines[1] == ["result", "baseline", "paper", "warp", "samples"]
    assert lines[2] == ["similarity", "0.9", "0.5", "0.78", "0.7", "10"]
    assert lines[3] == ["distance", "2", "px", "5", "px", "-", "3", "px", "10"]
    report.save(tmp_path / "report.json")
    table = evaluation_table(json.loads((tmp_path / "report.json").read_text()), "report")
    assert table["columns"] == ["figure", "result", "baseline", "paper", "warp", "unit", "samples"]


def test_results_of_another_report_beside():
    report, other = Report("", "", ""), Report("", "", "")
    report.add("error", 1, 4, "", 10, {"rival": 2})
    other.add("error", 3, 4, "", 10)
    report.beside("degraded", other)
    assert report["error"].others == {"rival": 2, "degraded": 3} and report["error"].result == 1
