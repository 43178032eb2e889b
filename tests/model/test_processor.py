"""The processor's facts are read as Linux writes them, and their absence is no error."""

from pathlib import Path

import pytest

from albertqa.model import processor
from albertqa.model.processor import Processor, read_processor

CPUINFO = """processor	: 0
cpu family	: 25
model		: 17
model name	: Some Processor @ 2.0GHz: fast
flags		: fpu avx2 {flag}

processor	: 1
model name	: Some Processor @ 2.0GHz: fast
flags		: fpu
"""


@pytest.mark.parametrize(("flag", "has_bf16"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)])
def test_name_and_instructions_of_the_first_processor(
    flag: str, has_bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flag=flag))
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    found = read_processor()
    assert found == Processor("Some Processor @ 2.0GHz: fast", frozenset({"fpu", "avx2", flag}), "family 25 model 17")
    assert found.has_bf16 == has_bf16


def test_where_the_system_does_not_tell_nothing_is_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    found = read_processor()
    assert found.name
    assert not found.has_bf16
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd bf16\n")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    assert read_processor().name
