"""Where a job's results lie in the platform's bucket, and how they are removed.

    variants/<tenant>/<suffix>/<job id>/{head,report}/    of the first attempt
    variants/<tenant>/<suffix>/<job id>-<n>/...           of attempt n

A path belongs to one attempt, so a worker that was thought dead can't write over the files of the
one that took over.
"""

from __future__ import annotations

from xingyue.jobs.models import Job
from xingyue.storage.objects import ObjectStore, delete_prefix


def folder(job: Job) -> str:
    """Of the attempt under way, without a slash at its end."""
    attempt = f"-{job.attempt}" if job.attempt > 1 else ""
    return f"{_stem(job)}{attempt}"


def discard(store: ObjectStore, bucket: str, job: Job) -> int:
    """Delete what any attempt has left; how many objects that were. Never of a job whose version
    exists or is being made."""
    if job.outcome is not None:
        return 0
    # A job's id has a fixed length, so this prefix is of no other job.
    return delete_prefix(store, bucket, _stem(job))


def discard_attempt(store: ObjectStore, bucket: str, job: Job) -> int:
    """Delete what this attempt alone has left: for a worker that lost its job to another."""
    return delete_prefix(store, bucket, f"{folder(job)}/")


def _stem(job: Job) -> str:
    return f"variants/{job.tenant_id}/{job.suffix}/{job.id}"
