"""A long video as a job: a durable step for each chunk, and one that joins them.

A chunk leaves its files in the media store, in the job's own folder and under the number of the attempt that made them,
so that an attempt that was taken over replaces nothing. They go when the job has ended.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from milimo_runtime.jobs import ChunkCommitted
from milimo_runtime.media import work_key

from milimo_video.job_files import VIDEO_ARTEFACT, commit_video, condition_images, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from milimo_runtime.job_run import JobObserver, JobRun
    from milimo_runtime.jobs import Job
    from milimo_runtime.media import MediaStore
    from milimo_runtime.model_process import ModelProcess
    from milimo_runtime.progress import Stage

    from milimo_video.join import Segment
    from milimo_video.plan import Chunk, VideoPlan
    from milimo_video.program import LoadedVideo
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
        """Makes all chunks that are not recorded yet, then the video. Raises as `Program.run`."""
        for chunk in self._plan.chunks:
            self._step(chunk)
        self._run.light_step("join", self._stages, self._join)

    def _step(self, chunk: Chunk) -> None:
        def work(loaded: LoadedVideo, observer: JobObserver) -> Mapping[str, Any]:
            rate = loaded.models.audio_sample_rate
            return asdict(self._earlier(chunk, rate) or self._make(chunk, loaded, observer))

        name = f"chunk_{chunk.span.index + 1}"
        keys = ChunkKeys(**self._run.step(name, self._process.model.residency(), self._stages, work))
        if self._made:
            # Not before the next chunk is recorded: until then it may have to be made again.
            self._process.media.delete(self._made[-1].hand_off)
        self._made.append(keys)

    def _make(self, chunk: Chunk, loaded: LoadedVideo, observer: JobObserver) -> ChunkKeys:
        from milimo_video.chain import ChunkFiles, make_chunk
        from milimo_video.decode import Tiling

        media, last = self._process.media, chunk.span.index == len(self._plan.chunks) - 1
        job = self._run.job
        keys = chunk_keys(job, job.attempt, chunk.span.index, loaded.models.audio_sample_rate)
        images = condition_images(self._process, self._request, [placed.index for placed in chunk.conditions])
        with scratch_folder(self._process, self._run) as folder, contextlib.ExitStack() as opened:
            before = None
            if self._made:
                before = opened.enter_context(media.local(self._made[-1].hand_off, scratch=self._process.scratch))
            files = ChunkFiles(
                segment=folder / "segment.mp4", sound=folder / "sound.npy", hand_off=folder / "hand_off.safetensors"
            )
            make_chunk(
                loaded.models,
                self._request,
                self._plan,
                chunk,
                images,
                before,
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

    def _earlier(self, chunk: Chunk, sample_rate: int) -> ChunkKeys | None:
        """The files of a chunk that an earlier attempt told of."""
        index = chunk.span.index
        if index not in self._told:
            return None
        # The hand-off may have gone, when the chunk after it was stored too.
        hand_off = index < len(self._plan.chunks) - 1 and index + 1 not in self._told
        return earlier_chunk(self._process.media, self._run.job, index, sample_rate, hand_off=hand_off)

    def _join(self, observer: JobObserver) -> Mapping[str, Any]:
        earlier = self._run.committed(VIDEO_ARTEFACT)
        if earlier is not None:
            # Stored by an attempt that died before the step was recorded.
            return {"asset_id": earlier.id}
        from milimo_video.join import join_chunks

        with scratch_folder(self._process, self._run) as folder:
            result = join_chunks(
                self._request,
                self._plan,
                self._segment,
                observer,
                folder / "video.mp4",
                model=self._process.model.installed().full_name,
                sample_rate=self._made[0].sample_rate,
            )
            asset = commit_video(self._run, self._process, self._request, result)
        return {"asset_id": asset.id}

    @contextlib.contextmanager
    def _segment(self, index: int) -> Iterator[Segment]:
        from milimo_video.join import Segment

        media, scratch, keys = self._process.media, self._process.scratch, self._made[index]
        with media.local(keys.segment, scratch=scratch) as video, media.local(keys.sound, scratch=scratch) as sound:
            yield Segment(video=video, sound=sound)
