"""LiteLLM's spend of each call, by its documented callback, into SQLite as durable as the
platform's (WAL, ``synchronous=FULL``). LiteLLM calls it after the answer: what was answered just
before a crash is not recorded. Its own spend tables need PostgreSQL through Prisma, which fetches a
binary.
"""

import sqlite3

from litellm.integrations.custom_logger import CustomLogger


class Spend(CustomLogger):
    def __init__(self):
        super().__init__()
        self._database = sqlite3.connect(
            "spend.db", isolation_level=None, check_same_thread=False, timeout=30
        )
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS spend"
            " (id TEXT PRIMARY KEY, key TEXT, model TEXT, tokens INTEGER, cost REAL)"
        )

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        metadata = kwargs["litellm_params"]["metadata"]
        row = (
            kwargs["litellm_call_id"],
            metadata.get("user_api_key_hash"),
            kwargs["model"],
            response_obj["usage"]["total_tokens"],
            kwargs["response_cost"],
        )
        self._database.execute("INSERT OR IGNORE INTO spend VALUES (?, ?, ?, ?, ?)", row)


spend = Spend()
