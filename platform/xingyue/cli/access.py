"""Where the platform is and with which key: the environment first, then ``demo.env``."""

from __future__ import annotations

import os

from xingyue.demo import read_env
from xingyue.errors import InvalidRequest
from xingyue.settings import Settings
from xingyue_client import Xingyue


def _value(name: str) -> str:
    value = os.environ.get(name) or read_env(Settings().resolved().home).get(name)
    if not value:
        raise InvalidRequest(f"{name} is not set, and there is no demo.env; run: xingyue up")
    return value


def caller() -> Xingyue:
    return Xingyue(_value("XINGYUE_URL"), _value("XINGYUE_API_KEY"))


def operator() -> Xingyue:
    return Xingyue(_value("XINGYUE_URL"), _value("XINGYUE_ADMIN_KEY"))
