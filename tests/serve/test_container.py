"""The container's files follow the rules that matter; nothing is built here."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from albertqa.cli.commands import parse
from albertqa.serve.limits import ServeConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="no PyYAML (the dev extra brings it)")
    content = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert list(content) == ["services"]
    (only,) = content["services"].values()
    return dict(only)


def values(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [value for one, value in instructions if one == name]


def test_the_image_is_pinned_to_the_python_that_is_tested(instructions: list[tuple[str, str]]) -> None:
    (image,) = values(instructions, "FROM")
    least = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert image == f"python:{least.removeprefix('>=')}-slim-bookworm"


def test_it_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    names = [name for name, _ in instructions]
    (user,) = values(instructions, "USER")
    assert int(user) > 0
    assert f"--uid {user}" in values(instructions, "RUN")[0]
    assert names.index("RUN") < names.index("USER") < names.index("ENTRYPOINT")


def test_versions_are_those_that_are_tested_and_nothing_is_left_in_the_layers(
    instructions: list[tuple[str, str]],
) -> None:
    (run,) = values(instructions, "RUN")
    assert "-c constraints.txt" in run
    assert "PIP_NO_CACHE_DIR=1" in values(instructions, "ENV")[0]
    assert not values(instructions, "ADD")
    assert not re.search(r"curl|wget|sudo|apt-get|KEY|TOKEN|PASSWORD", " ".join(value for _, value in instructions))


def test_what_is_copied_is_there_and_not_ignored(instructions: list[tuple[str, str]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [source for value in values(instructions, "COPY") for source in value.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert ignored[0] == "*"


def test_the_command_is_one_that_albertqa_knows(instructions: list[tuple[str, str]]) -> None:
    program, *command = [
        *json.loads(values(instructions, "ENTRYPOINT")[0]),
        *json.loads(values(instructions, "CMD")[0]),
    ]
    assert program == "albertqa"
    parsed = parse(command)
    assert (parsed.model, parsed.server.host) == ("/model", "0.0.0.0")
    assert values(instructions, "EXPOSE") == [str(parsed.server.port)]


def test_health_is_asked_of_a_route_that_there_is(instructions: list[tuple[str, str]], client: Any) -> None:
    (check,) = values(instructions, "HEALTHCHECK")
    path = re.search(rf"http://127\.0\.0\.1:{ServeConfig.port}(/\w+)", check)
    assert path
    assert client.get(path[1]).status_code == 200


def test_compose_gives_no_more_than_is_needed_and_time_to_drain(service: dict[str, Any]) -> None:
    assert service["ports"] == [f"127.0.0.1:{ServeConfig.port}:{ServeConfig.port}"]
    assert [volume.endswith(":/model:ro") for volume in service["volumes"]] == [True]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    seconds = int(service["stop_grace_period"].removesuffix("s"))
    assert seconds > ServeConfig.deadline_seconds + ServeConfig.drain_seconds + 5
    assert "privileged" not in service
