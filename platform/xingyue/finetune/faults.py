"""What a job's owner is told when it fails. Faults of ours keep their details to the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xingyue.contract import DatasetReport
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue.jobs.models import JobFault

BAD_DATA = {
    "training_file": "invalid_training_file",
    "validation_file": "invalid_validation_file",
}
"""OpenAI's codes."""
_NOTES_SHOWN = 5


def fault_of(error: BaseException, job_id: str) -> JobFault:
    if isinstance(error, XingyueError) and not isinstance(error, Internal):
        return JobFault(error.code, error.message, error.param)
    return JobFault(
        "server_error",
        f"the job failed by a fault of the platform, which was logged under {job_id}; start it "
        "again, or ask the operator",
    )


@contextmanager
def tell(param: str) -> Iterator[None]:
    """A recipe speaks of its ``data``; the owner knows it by the request's field."""
    try:
        yield
    except InvalidRequest as error:
        if error.param in (None, "data"):
            error.param = param
            if error.code == InvalidRequest.code:
                error.code = BAD_DATA[param]
        raise


def refuse(report: DatasetReport, param: str) -> None:
    """``InvalidRequest`` in the report's own words where it has errors."""
    errors = report.errors
    if not errors:
        return
    words = " ".join(f"{note.message.rstrip('.')}." for note in errors[:_NOTES_SHOWN])
    more = len(errors) - _NOTES_SHOWN
    if more > 0:
        words += f" And {more} more; see the job's events."
    raise InvalidRequest(words, code=BAD_DATA[param], param=param)
