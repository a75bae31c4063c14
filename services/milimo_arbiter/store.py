"""The record that survives the arbiter: leases and the last fencing token of each device, in one SQLite file.

Times in the file are those of the wall clock, since a monotonic clock means nothing to the next boot.

What is recorded survives the end of the process as soon as it is written, which is enough for leases: they end with the
boot in which they were granted. No token may come back after a power failure, so tokens are reserved in blocks: a block
is flushed to the disk before its first token is granted, and whoever opens the file next begins after it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from milimo_arbiter.effects import Forget, ForgetParking, Learn, Save, SaveParking
from milimo_arbiter.learning import PEAKS
from milimo_arbiter.state import Lease, Parking, Peak, ProcessIdentity, Quarantine, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from milimo_arbiter.effects import Change

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS token (device TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (
    lease_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    device TEXT NOT NULL,
    footprint TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    load_seconds REAL NOT NULL,
    fencing_token INTEGER NOT NULL,
    resume_token TEXT NOT NULL,
    pid INTEGER,
    start_ticks INTEGER,
    pid_namespace INTEGER,
    min_hold_s REAL NOT NULL,
    granted_at REAL NOT NULL,
    quarantine_reason TEXT,
    released INTEGER NOT NULL,
    kill_at REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parking (
    tenant TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL,
    pid_namespace INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant, pid, start_ticks, pid_namespace)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peak (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    footprint TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (model, footprint, width, height, frames)
) STRICT;
CREATE TABLE IF NOT EXISTS answer (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    request_hash TEXT NOT NULL,
    response BLOB NOT NULL
) STRICT;
"""

# Answers that are kept for repeats of their requests: the latest.
ANSWERS: Final = 1_000
# Tokens in a block. Flushing takes longer than all else that a grant needs; of 2^64 tokens there are enough.
TOKENS: Final = 1_000


class StoreInUse(RuntimeError):
    """Another arbiter has the file open: two would lend the same memory twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was answered to the request with that id; the hash tells it from another one with the same id."""

    request_id: str
    request_hash: str
    response: bytes


@dataclass(frozen=True, kw_only=True)
class Record:
    """What an earlier arbiter left: no token above `tokens`. The answers are by request id, oldest first."""

    leases: Mapping[str, Lease]
    tokens: Mapping[str, int]
    answers: Mapping[str, Answer]
    parked: Mapping[tuple[str, ProcessIdentity], Parking]
    peaks: Mapping[tuple[Workload, str], int]


class LeaseStore:
    """One connection. The file stays locked while it is open."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Raises:
            StoreInUse: when another process has it open.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        try:
            # Exclusive for as long as the process lives; a killed one leaves no lock behind.
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            self._complete()
        except sqlite3.OperationalError as error:
            self._connection.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StoreInUse(f"{path} is in use by another arbiter") from error
            raise
        self._flushing = True
        # The last one that is reserved, of each device.
        self._tokens: dict[str, int] = dict(self._connection.execute("SELECT device, last FROM token"))

    def _complete(self) -> None:
        """Adds what the file of an earlier version lacks."""
        columns = {name for _, name, *_ in self._connection.execute("PRAGMA table_info(lease)")}
        if "kill_at" not in columns:
            self._connection.execute("ALTER TABLE lease ADD COLUMN kill_at REAL")

    def load(self, *, now: float, wall: float, boot_id: str) -> Record:
        """Reads what is on record. Leases of an earlier boot are dropped: their holders cannot be alive."""
        row = self._connection.execute("SELECT id FROM boot").fetchone()
        if row != (boot_id,):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM boot")
            self._connection.execute("DELETE FROM lease")
            self._connection.execute("DELETE FROM parking")
            self._connection.execute("INSERT INTO boot VALUES (?)", (boot_id,))
            self._connection.execute("COMMIT")
        leases = [_lease(row, now, wall) for row in self._connection.execute("SELECT * FROM lease")]
        query = "SELECT request_id, request_hash, response FROM answer ORDER BY number"
        answers = {
            request_id: Answer(request_id=request_id, request_hash=request_hash, response=response)
            for request_id, request_hash, response in self._connection.execute(query)
        }
        query = "SELECT tenant, pid, start_ticks, pid_namespace, bytes FROM parking"
        parked = [
            Parking(
                tenant=tenant,
                process=ProcessIdentity(pid=pid, start_ticks=ticks, pid_namespace=namespace),
                bytes=size,
            )
            for tenant, pid, ticks, namespace, size in self._connection.execute(query)
        ]
        query = "SELECT model, width, height, frames, footprint, bytes FROM peak ORDER BY number"
        peaks = {
            (Workload(model=model, width=width, height=height, frames=frames), footprint): size
            for model, width, height, frames, footprint, size in self._connection.execute(query)
        }
        return Record(
            leases={lease.lease_id: lease for lease in leases},
            tokens=dict(self._tokens),
            answers=answers,
            parked={(one.tenant, one.process): one for one in parked},
            peaks=peaks,
        )

    def apply(self, changes: Sequence[Change | Answer], *, now: float, wall: float) -> None:
        """Records the changes in one transaction."""
        reserved: dict[str, int] = {}
        for change in changes:
            if isinstance(change, Save):
                device, token = change.lease.device, change.lease.fencing_token
                if token > reserved.get(device, self._tokens.get(device, 0)):
                    reserved[device] = token + TOKENS - 1
        self._flush(bool(reserved))
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                match change:
                    case Save():
                        self._save(change.lease, now, wall)
                    case Forget():
                        self._connection.execute("DELETE FROM lease WHERE lease_id = ?", (change.lease_id,))
                    case SaveParking(parking=parking):
                        row = (*_key(parking), parking.bytes)
                        self._connection.execute("INSERT OR REPLACE INTO parking VALUES (?, ?, ?, ?, ?)", row)
                    case ForgetParking(parking=parking):
                        where = "tenant = ? AND pid = ? AND start_ticks = ? AND pid_namespace = ?"
                        self._connection.execute(f"DELETE FROM parking WHERE {where}", _key(parking))  # noqa: S608
                    case Learn(peak=peak):
                        self._learn(peak)
                    case Answer():
                        self._keep(change)
            self._connection.executemany("INSERT OR REPLACE INTO token VALUES (?, ?)", reserved.items())
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        self._tokens.update(reserved)

    def _flush(self, flush: bool) -> None:
        """Whether the next transactions wait for the disk."""
        if flush != self._flushing:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if flush else 'NORMAL'}")
            self._flushing = flush

    def _save(self, lease: Lease, now: float, wall: float) -> None:
        process = lease.process
        self._connection.execute(
            "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                lease.lease_id,
                lease.tenant,
                lease.device,
                lease.footprint,
                lease.bytes,
                lease.load_seconds,
                lease.fencing_token,
                lease.resume_token,
                None if process is None else process.pid,
                None if process is None else process.start_ticks,
                None if process is None else process.pid_namespace,
                lease.min_hold_s,
                wall - (now - lease.granted_at),
                None if lease.quarantine is None else lease.quarantine.reason,
                lease.quarantine is not None and lease.quarantine.released,
                None
                if lease.quarantine is None or lease.quarantine.kill_at is None
                else wall - (now - lease.quarantine.kill_at),
            ),
        )

    def _learn(self, peak: Peak) -> None:
        one = peak.workload
        self._connection.execute(
            "INSERT OR REPLACE INTO peak (model, footprint, width, height, frames, bytes) VALUES (?, ?, ?, ?, ?, ?)",
            (one.model, peak.footprint, one.width, one.height, one.frames, peak.bytes),
        )
        oldest = "DELETE FROM peak WHERE number NOT IN (SELECT number FROM peak ORDER BY number DESC LIMIT ?)"
        self._connection.execute(oldest, (PEAKS,))

    def _keep(self, answer: Answer) -> None:
        self._connection.execute(
            "INSERT INTO answer (request_id, request_hash, response) VALUES (?, ?, ?)",
            (answer.request_id, answer.request_hash, answer.response),
        )
        oldest = "DELETE FROM answer WHERE number <= (SELECT max(number) FROM answer) - ?"
        self._connection.execute(oldest, (ANSWERS,))

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


def _key(parking: Parking) -> tuple[str, int, int, int]:
    process = parking.process
    return parking.tenant, process.pid, process.start_ticks, process.pid_namespace


def _lease(row: tuple[object, ...], now: float, wall: float) -> Lease:
    match row:
        case (
            str(lease_id),
            str(tenant),
            str(device),
            str(footprint),
            int(size),
            float(load_seconds),
            int(fencing_token),
            str(resume_token),
            int() | None as pid,
            int() | None as ticks,
            int() | None as namespace,
            float(min_hold_s),
            float(granted_at),
            str() | None as quarantine_reason,
            int(released),
            float() | None as kill_at,
        ):
            process = None
            if pid is not None and ticks is not None and namespace is not None:
                process = ProcessIdentity(pid=pid, start_ticks=ticks, pid_namespace=namespace)
            return Lease(
                lease_id=lease_id,
                tenant=tenant,
                device=device,
                footprint=footprint,
                bytes=size,
                load_seconds=load_seconds,
                fencing_token=fencing_token,
                resume_token=resume_token,
                process=process,
                min_hold_s=min_hold_s,
                granted_at=now - max(0.0, wall - granted_at),
                expires_at=now,
                last_used=now,
                stream=None,
                confirmed=True,
                turn=None,
                quarantine=None
                if quarantine_reason is None
                else Quarantine(
                    since=now,
                    reason=quarantine_reason,
                    released=bool(released),
                    kill_at=None if kill_at is None else now + (kill_at - wall),
                ),
            )
        case _:
            raise ValueError(f"a row of the lease table is damaged: {row!r}")
