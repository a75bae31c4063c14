"""A long video as a job: a durable step for each chunk, and one that joins them.

A chunk leaves its files in the media store, in the job's own folder and under the number of the attempt that made them,
so that an attempt that was taken over replaces nothing. They go when the job has ended.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from milimo_runtime.assets import require_asset
from milimo_runtime.jobs import ChunkCommitted
from milimo_runtime.media import work_key
from milimo_runtime.observer import JobCancelled, Silent

from milimo_video.job_files import VIDEO_ARTEFACT, commit_video, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.jobs import Job
    from milimo_runtime.media import MediaStore
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.observer import Observer
    from milimo_runtime.progress import Stage

    from milimo_video.chunk import Chunk
    from milimo_video.continuation import HandOff
    from milimo_video.loaded import LoadedVideo
    from milimo_video.packets import Segment
    from milimo_video.plan import VideoPlan
    from milimo_video.request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class ChunkKeys:
    """Where a chunk's files are in the media store; as the step records it. The last chunk hands nothing over."""

    segment: str
    sound: str
    hand_off: str
    # Samples per second.
    sample_rate: int


def chunk_keys(job: Job, attempt: int, index: int, sample_rate: int) -> ChunkKeys:
    """Where an attempt puts the files of a chunk, counted from 0."""

    def key(what: str, extension: str) -> str:
        return work_key(job.subject.project_id, job.id, f"attempt-{attempt}-chunk-{index + 1}-{what}", extension)

    return ChunkKeys(
        segment=key("video", "mp4"),
        sound=key("sound", "npy"),
        hand_off=key("end", "safetensors"),
        sample_rate=sample_rate,
    )


def earlier_chunk(media: MediaStore, job: Job, index: int, sample_rate: int, *, hand_off: bool) -> ChunkKeys | None:
    """The files of a chunk of the latest earlier attempt that left them all; `hand_off` says whether that one counts.

    Each is there as a whole or not at all, and the same whichever attempt made it.
    """
    for attempt in reversed(range(1, job.attempt)):
        keys = chunk_keys(job, attempt, index, sample_rate)
        needed = [keys.segment, keys.sound, *([keys.hand_off] if hand_off else [])]
        if all(media.exists(key) for key in needed):
            return keys
    return None


class ChainedVideo:
    """One attempt at a job whose plan has several chunks."""

    def __init__(
        self,
        process: ModelProcess[LoadedVideo],
        run: JobRun,
        request: VideoRequest,
        plan: VideoPlan,
        stages: Sequence[Stage],
    ) -> None:
        self._process = process
        self._run = run
        self._request = request
        self._plan = plan
        self._stages = stages
        self._made: list[ChunkKeys] = []
        # Chunks that an earlier attempt stored and told of; it may have died before the step was recorded.
        self._told = {
            event.body.chunk
            for event in (process.store.events(run.job.id) if run.job.attempt > 1 else ())
            if isinstance(event.body, ChunkCommitted)
        }

    def make(self) -> None:
        """Makes all chunks that are not recorded yet, then the video. Raises as `Program.run`.

        A job that is cancelled leaves the chunks that are recorded as a shorter video, when that was asked for.
        """
        try:
            for chunk in self._plan.chunks:
                self._step(chunk)
            self._run.light_step("join", self._stages, lambda observer: self._join(self._plan, observer))
        except JobCancelled:
            if self._made and self._process.store.get(self._run.job.id).keep_partial:
                self._keep_made()
            raise

    def _step(self, chunk: Chunk) -> None:
        def work(loaded: LoadedVideo, observer: JobObserver) -> Mapping[str, Any]:
            rate = loaded.models.audio_sample_rate
            return asdict(self._earlier(chunk, rate) or self._make(chunk, loaded, observer))

        name = f"chunk_{chunk.span.index + 1}"
        model, plan = self._process.model, self._plan
        workload = model.workload(width=plan.model_width, height=plan.model_height, frames=chunk.span.frames)
        keys = ChunkKeys(**self._run.step(name, model.residency(), self._stages, work, workload))
        if self._made:
            # Not before the next chunk is recorded: until then it may have to be made again.
            self._process.media.delete(self._made[-1].hand_off)
        self._made.append(keys)

    def _make(self, chunk: Chunk, loaded: LoadedVideo, observer: JobObserver) -> ChunkKeys:
        from milimo_video.chain import ChunkFiles, make_chunk
        from milimo_video.decode import Tiling
        from milimo_video.sources import chunk_material

        media, last = self._process.media, chunk.span.index == len(self._plan.chunks) - 1
        job = self._run.job
        keys = chunk_keys(job, job.attempt, chunk.span.index, loaded.models.audio_sample_rate)
        material = chunk_material(self._process, self._request, self._plan, chunk)
        with scratch_folder(self._process, self._run) as folder:
            files = ChunkFiles(
                segment=folder / "segment.mp4", sound=folder / "sound.npy", hand_off=folder / "hand_off.safetensors"
            )
            make_chunk(
                loaded.models,
                self._request,
                self._plan,
                chunk,
                material,
                self._before(chunk),
                observer,
                files,
                prompts=loaded.prompts,
                tiling=Tiling(),
            )
            media.publish(files.segment, keys.segment)
            media.publish(files.sound, keys.sound)
            if not last:
                media.publish(files.hand_off, keys.hand_off)
        if chunk.span.index not in self._told:
            # Fenced: an attempt that was taken over gets no further.
            self._run.chunk(chunk.span.index, len(self._plan.chunks))
            self._told.add(chunk.span.index)
        return keys

    def _before(self, chunk: Chunk) -> HandOff | None:
        """What the chunk goes on from, and leads to."""
        import torch

        from milimo_video.continuation import HandOff, load_hand_off
        from milimo_video.sources import lead_piece, read_piece, trail_piece

        given: HandOff | None = None
        if self._made:
            with self._process.media.local(self._made[-1].hand_off, scratch=self._process.scratch) as path:
                given = load_hand_off(path)
        elif (lead := lead_piece(self._request, self._plan)) is not None:
            given = HandOff(frames=torch.from_numpy(read_piece(self._process, self._plan, lead)))
        trail = trail_piece(self._request, self._plan)
        if trail is not None and chunk.span.index == len(self._plan.chunks) - 1:
            after = torch.from_numpy(read_piece(self._process, self._plan, trail))
            frame = chunk.span.overlap + chunk.span.kept
            given = replace(given or HandOff(), after=after, after_frame=frame)
        return given

    def _earlier(self, chunk: Chunk, sample_rate: int) -> ChunkKeys | None:
        """The files of a chunk that an earlier attempt told of."""
        index = chunk.span.index
        if index not in self._told:
            return None
        # The hand-off may have gone, when the chunk after it was stored too.
        hand_off = index < len(self._plan.chunks) - 1 and index + 1 not in self._told
        return earlier_chunk(self._process.media, self._run.job, index, sample_rate, hand_off=hand_off)

    def _keep_made(self) -> None:
        """Joins what there is: of a retake, the new frames alone."""
        chunks = self._plan.chunks[: len(self._made)]
        frames = sum(chunk.span.kept for chunk in chunks)
        if frames < self._plan.num_frames:
            self._run.notice("PARTIAL_KEPT", f"the first {frames} frames that were made are kept as a video")
        self._join(replace(self._plan, chunks=chunks, num_frames=frames, first_frame=0, trail=0), Silent(), alone=True)

    def _join(self, plan: VideoPlan, observer: Observer, *, alone: bool = False) -> Mapping[str, Any]:
        earlier = self._run.committed(VIDEO_ARTEFACT)
        if earlier is not None:
            # Stored by an attempt that died before the step was recorded.
            return {"asset_id": earlier.id}
        from milimo_video.join import join_chunks

        with scratch_folder(self._process, self._run) as folder, self._around(alone=alone) as around:
            result = join_chunks(
                self._request,
                plan,
                self._segment,
                observer,
                folder / "video.mp4",
                model=self._process.model.installed().full_name,
                sample_rate=self._made[0].sample_rate,
                around=around,
            )
            asset = commit_video(self._run, self._process, self._request, result, partial=alone)
        return {"asset_id": asset.id}

    @contextlib.contextmanager
    def _segment(self, index: int) -> Iterator[Segment]:
        from milimo_video.packets import Segment

        media, scratch, keys = self._process.media, self._process.scratch, self._made[index]
        with media.local(keys.segment, scratch=scratch) as video, media.local(keys.sound, scratch=scratch) as sound:
            yield Segment(video=video, sound=sound)

    @contextlib.contextmanager
    def _around(self, *, alone: bool) -> Iterator[Path | None]:
        """The video of which a span is made anew, unless the new frames shall stand alone."""
        if alone or self._request.retake is None:
            yield None
            return
        with self._process.database.read() as session:
            asset = require_asset(session, self._request.retake.asset_id, field_name="video.retake.asset_id")
        with self._process.media.local(asset.key, scratch=self._process.scratch) as path:
            yield path
