"""The record that survives the arbiter: leases and the last fencing token of each device, in one SQLite file.

Times in the file are those of the wall clock, since a monotonic clock means nothing to the next boot.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milimo_arbiter.effects import Save
from milimo_arbiter.state import Lease, ProcessIdentity, Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from milimo_arbiter.effects import Forget

_SCHEMA = """
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
    released INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


class StoreInUse(RuntimeError):
    """Another arbiter has the file open: two would lend the same memory twice."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What an earlier arbiter left."""

    leases: Mapping[str, Lease]
    tokens: Mapping[str, int]


class LeaseStore:
    """One connection, used by one thread at a time. The file stays locked while it is open."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Raises:
            StoreInUse: when another process has it open.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            # Exclusive for as long as the process lives; a killed one leaves no lock behind.
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            # A token must not come back after a power failure either.
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.OperationalError as error:
            self._connection.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StoreInUse(f"{path} is in use by another arbiter") from error
            raise

    def load(self, *, now: float, wall: float, boot_id: str) -> Record:
        """Reads what is on record. Leases of an earlier boot are dropped: their holders cannot be alive."""
        row = self._connection.execute("SELECT id FROM boot").fetchone()
        if row != (boot_id,):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM boot")
            self._connection.execute("DELETE FROM lease")
            self._connection.execute("INSERT INTO boot VALUES (?)", (boot_id,))
            self._connection.execute("COMMIT")
        tokens = dict(self._connection.execute("SELECT device, last FROM token"))
        leases = [_lease(row, now, wall) for row in self._connection.execute("SELECT * FROM lease")]
        return Record(leases={lease.lease_id: lease for lease in leases}, tokens=tokens)

    def apply(self, changes: Sequence[Save | Forget], *, now: float, wall: float) -> None:
        """Records the changes in one transaction, which is on the disk when this returns."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                if isinstance(change, Save):
                    self._save(change.lease, now, wall)
                else:
                    self._connection.execute("DELETE FROM lease WHERE lease_id = ?", (change.lease_id,))
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _save(self, lease: Lease, now: float, wall: float) -> None:
        process = lease.process
        self._connection.execute(
            "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            ),
        )
        self._connection.execute(
            "INSERT INTO token VALUES (?, ?) ON CONFLICT (device) DO UPDATE SET last = max(last, excluded.last)",
            (lease.device, lease.fencing_token),
        )

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


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
                else Quarantine(since=now, reason=quarantine_reason, released=bool(released)),
            )
        case _:
            raise ValueError(f"a row of the lease table is damaged: {row!r}")
