"""The index and the cut as a worker runs them: in a jailed child, by name."""

from __future__ import annotations

from pathlib import Path

from media.process import ForkServer
from media.workspace import Workspace
from pipelines.spans import plan
from schemas.cuts import CutReport, CutRequest, MediaIndex
from schemas.times import TimeRange
from tests.cutting import held_tracks
from tests.media_builder import StreamSpec, build, segment
from tests.oracle import check_exact


def test_a_clip_is_cut_in_a_jail(tmp_path: Path) -> None:
    asset = segment(build(StreamSpec(open_gop=True)))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510
    with Workspace.create(tmp_path, "job_1", 1) as workspace, ForkServer() as server:
        request = CutRequest(
            wanted=TimeRange(start_ms=start, end_ms=end),
            tracks=held_tracks(asset, workspace.path),
            output="clip.mp4",
        )
        seen: list[float] = []

        found = server.call("media.cut.tasks:index", request, jail=workspace.jail(), limit_s=60)
        planned = plan(request, MediaIndex.model_validate(found))
        answer = server.call(
            "media.cut.tasks:carry_out",
            planned,
            jail=workspace.jail(),
            limit_s=60,
            on_progress=lambda told: seen.append(float(str(told["done"]))),
        )

        report = CutReport.model_validate(answer)
        assert check_exact(workspace.path / "clip.mp4", asset, start, end) == []
        assert report.copied_frames == planned.copied_frames
        assert seen == sorted(seen)
        assert seen
