"""What the README tells a newcomer to paste works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BLOCKS = [
    block
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    if "curl " in block
]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_with_curl_answers_without_an_error(platform: Any, number: int) -> None:
    # The test's platform has a home of its own; in the README it is the default.
    script = BLOCKS[number].replace(".xingyue/", f"{platform.home}/")
    script = script.replace("curl ", "curl -s --fail-with-body --max-time 120 ")
    environment = platform.environment | {
        "XINGYUE_URL": platform.url,
        "XINGYUE_API_KEY": platform.key,
        "XINGYUE_ADMIN_KEY": platform.admin_key,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    decoder, rest, answers = json.JSONDecoder(), done.stdout.strip(), []
    while rest.startswith(("{", "[")):
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].lstrip()
    assert all("error" not in answer for answer in answers if isinstance(answer, dict))
    assert done.stdout.strip(), "the block printed nothing"


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_runs(platform: Any, number: int) -> None:
    keys = {"XINGYUE_URL": platform.url, "XINGYUE_API_KEY": platform.key}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS[number].replace(".xingyue/", f"{platform.home}/")],
        env=platform.environment | keys,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fail "), done.stdout
