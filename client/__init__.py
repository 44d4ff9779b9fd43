"""The service's API in Python: synchronous, typed, patient; imports `schemas` and nothing else."""

from client.errors import (
    ApiError,
    ChallengePending,
    JobFailed,
    TryLater,
    Unreachable,
    Unreadable,
    UploadInterrupted,
)
from client.main import Client
from client.moments import Part, Place, clip_file_id
from client.values import UNSET, Event, Job

__all__ = [
    "UNSET",
    "ApiError",
    "ChallengePending",
    "Client",
    "Event",
    "Job",
    "JobFailed",
    "Part",
    "Place",
    "TryLater",
    "Unreachable",
    "Unreadable",
    "UploadInterrupted",
    "clip_file_id",
]
