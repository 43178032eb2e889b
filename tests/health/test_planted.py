"""Faults are planted, runs are trained, and the first finding must name the fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from albertqa.health.diagnosis import diagnose
from albertqa.health.record import RunRecord, load_record

from .cases import names
from .faults import FAULTS

RECORDED = Path(__file__).parent / "recorded"
# Recorded with the starter encoder's real weights; see record.py.
RECORDED_FAULTS = {
    "starter-high-rate": "high-learning-rate",
    "starter-low-rate": "low-learning-rate",
    "starter-shuffled": "unrelated-answers",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_the_first_finding(planted: Callable[[str], RunRecord], fault: str) -> None:
    findings = diagnose(planted(fault))
    assert names(findings)[:1] == [FAULTS[fault].expected], names(findings)


@pytest.mark.parametrize("name", RECORDED_FAULTS)
def test_a_recorded_fault_is_the_first_finding(name: str) -> None:
    assert names(diagnose(load_record(RECORDED / name)))[:1] == [RECORDED_FAULTS[name]]


def test_no_fault_is_taken_for_another(planted: Callable[[str], RunRecord], capsys: pytest.CaptureFixture[str]) -> None:
    rows = {fault: (FAULTS[fault].expected, names(diagnose(planted(fault)))) for fault in FAULTS}
    rows |= {name: (RECORDED_FAULTS[name], names(diagnose(load_record(RECORDED / name)))) for name in RECORDED_FAULTS}
    with capsys.disabled():
        print(f"\n{'planted':<46}{'first finding':<24}others")
        for fault, (expected, found) in rows.items():
            wrong = "" if found[:1] == [expected] else f"   expected {expected}"
            print(f"{fault:<46}{next(iter(found), 'none'):<24}{', '.join(found[1:])}{wrong}")
    assert len(rows) >= 20
    assert {fault: found[:1] for fault, (_, found) in rows.items()} == {
        fault: [expected] for fault, (expected, _) in rows.items()
    }
