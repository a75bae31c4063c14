import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from milimo.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_STATE_UNSPECIFIED: _ClassVar[LeaseState]
    LEASE_STATE_IDLE: _ClassVar[LeaseState]
    LEASE_STATE_BUSY: _ClassVar[LeaseState]
    LEASE_STATE_RECLAIMING: _ClassVar[LeaseState]
    LEASE_STATE_QUARANTINED: _ClassVar[LeaseState]
LEASE_STATE_UNSPECIFIED: LeaseState
LEASE_STATE_IDLE: LeaseState
LEASE_STATE_BUSY: LeaseState
LEASE_STATE_RECLAIMING: LeaseState
LEASE_STATE_QUARANTINED: LeaseState

class LeaseRequest(_message.Message):
    __slots__ = ("acquire", "heartbeat", "shrink", "idle", "busy", "release", "park")
    ACQUIRE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    SHRINK_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PARK_FIELD_NUMBER: _ClassVar[int]
    acquire: Acquire
    heartbeat: Heartbeat
    shrink: Shrink
    idle: Idle
    busy: Busy
    release: Release
    park: Park
    def __init__(self, acquire: _Optional[_Union[Acquire, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., shrink: _Optional[_Union[Shrink, _Mapping]] = ..., idle: _Optional[_Union[Idle, _Mapping]] = ..., busy: _Optional[_Union[Busy, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., park: _Optional[_Union[Park, _Mapping]] = ...) -> None: ...

class Footprint(_message.Message):
    __slots__ = ("name", "bytes", "devices", "load_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LOAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    bytes: int
    devices: _containers.RepeatedScalarFieldContainer[str]
    load_seconds: float
    def __init__(self, name: _Optional[str] = ..., bytes: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ..., load_seconds: _Optional[float] = ...) -> None: ...

class Acquire(_message.Message):
    __slots__ = ("tenant", "footprints", "priority", "min_hold", "job_id", "resume_token", "process")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    FOOTPRINTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MIN_HOLD_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    footprints: _containers.RepeatedCompositeFieldContainer[Footprint]
    priority: _common_pb2.Priority
    min_hold: _duration_pb2.Duration
    job_id: str
    resume_token: str
    process: ProcessIdentity
    def __init__(self, tenant: _Optional[str] = ..., footprints: _Optional[_Iterable[_Union[Footprint, _Mapping]]] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., min_hold: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., job_id: _Optional[str] = ..., resume_token: _Optional[str] = ..., process: _Optional[_Union[ProcessIdentity, _Mapping]] = ...) -> None: ...

class ProcessIdentity(_message.Message):
    __slots__ = ("pid", "start_ticks", "pid_namespace")
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    PID_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    pid: int
    start_ticks: int
    pid_namespace: int
    def __init__(self, pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., pid_namespace: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("used_bytes", "parked_bytes")
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARKED_BYTES_FIELD_NUMBER: _ClassVar[int]
    used_bytes: int
    parked_bytes: int
    def __init__(self, used_bytes: _Optional[int] = ..., parked_bytes: _Optional[int] = ...) -> None: ...

class Shrink(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class Idle(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Busy(_message.Message):
    __slots__ = ("job_id", "waiting_jobs")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    waiting_jobs: int
    def __init__(self, job_id: _Optional[str] = ..., waiting_jobs: _Optional[int] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("peak_bytes",)
    PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    peak_bytes: int
    def __init__(self, peak_bytes: _Optional[int] = ...) -> None: ...

class Park(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class LeaseResponse(_message.Message):
    __slots__ = ("queued", "granted", "reclaim_requested", "revoked", "released", "parked")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    RECLAIM_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    queued: Queued
    granted: Granted
    reclaim_requested: ReclaimRequested
    revoked: Revoked
    released: Released
    parked: Parked
    def __init__(self, queued: _Optional[_Union[Queued, _Mapping]] = ..., granted: _Optional[_Union[Granted, _Mapping]] = ..., reclaim_requested: _Optional[_Union[ReclaimRequested, _Mapping]] = ..., revoked: _Optional[_Union[Revoked, _Mapping]] = ..., released: _Optional[_Union[Released, _Mapping]] = ..., parked: _Optional[_Union[Parked, _Mapping]] = ...) -> None: ...

class Queued(_message.Message):
    __slots__ = ("position", "eta", "reason")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    position: int
    eta: _duration_pb2.Duration
    reason: str
    def __init__(self, position: _Optional[int] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Granted(_message.Message):
    __slots__ = ("lease_id", "device", "bytes", "footprint", "fencing_token", "ttl", "resume_token")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FOOTPRINT_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    device: str
    bytes: int
    footprint: str
    fencing_token: int
    ttl: _duration_pb2.Duration
    resume_token: str
    def __init__(self, lease_id: _Optional[str] = ..., device: _Optional[str] = ..., bytes: _Optional[int] = ..., footprint: _Optional[str] = ..., fencing_token: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class ReclaimRequested(_message.Message):
    __slots__ = ("bytes", "deadline", "reason")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    deadline: _duration_pb2.Duration
    reason: str
    def __init__(self, bytes: _Optional[int] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Parked(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: ArbiterStatus
    def __init__(self, status: _Optional[_Union[ArbiterStatus, _Mapping]] = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: ArbiterStatus
    def __init__(self, status: _Optional[_Union[ArbiterStatus, _Mapping]] = ...) -> None: ...

class ArbiterStatus(_message.Message):
    __slots__ = ("devices", "leases", "queue", "decisions", "parking_budget_bytes", "parked_bytes", "grace_until")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    PARKING_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARKED_BYTES_FIELD_NUMBER: _ClassVar[int]
    GRACE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[DeviceStatus]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseStatus]
    queue: _containers.RepeatedCompositeFieldContainer[WaitingRequest]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    parking_budget_bytes: int
    parked_bytes: int
    grace_until: _timestamp_pb2.Timestamp
    def __init__(self, devices: _Optional[_Iterable[_Union[DeviceStatus, _Mapping]]] = ..., leases: _Optional[_Iterable[_Union[LeaseStatus, _Mapping]]] = ..., queue: _Optional[_Iterable[_Union[WaitingRequest, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., parking_budget_bytes: _Optional[int] = ..., parked_bytes: _Optional[int] = ..., grace_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeviceStatus(_message.Message):
    __slots__ = ("device", "name", "total_bytes", "reserve_bytes", "granted_bytes", "measured_bytes", "quarantined_bytes", "external_bytes", "free_bytes")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESERVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    GRANTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    device: str
    name: str
    total_bytes: int
    reserve_bytes: int
    granted_bytes: int
    measured_bytes: int
    quarantined_bytes: int
    external_bytes: int
    free_bytes: int
    def __init__(self, device: _Optional[str] = ..., name: _Optional[str] = ..., total_bytes: _Optional[int] = ..., reserve_bytes: _Optional[int] = ..., granted_bytes: _Optional[int] = ..., measured_bytes: _Optional[int] = ..., quarantined_bytes: _Optional[int] = ..., external_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ...) -> None: ...

class LeaseStatus(_message.Message):
    __slots__ = ("lease_id", "tenant", "device", "footprint", "granted_bytes", "measured_bytes", "state", "job_id", "waiting_jobs", "fencing_token", "granted_at", "parked_bytes", "pid")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FOOTPRINT_FIELD_NUMBER: _ClassVar[int]
    GRANTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GRANTED_AT_FIELD_NUMBER: _ClassVar[int]
    PARKED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    tenant: str
    device: str
    footprint: str
    granted_bytes: int
    measured_bytes: int
    state: LeaseState
    job_id: str
    waiting_jobs: int
    fencing_token: int
    granted_at: _timestamp_pb2.Timestamp
    parked_bytes: int
    pid: int
    def __init__(self, lease_id: _Optional[str] = ..., tenant: _Optional[str] = ..., device: _Optional[str] = ..., footprint: _Optional[str] = ..., granted_bytes: _Optional[int] = ..., measured_bytes: _Optional[int] = ..., state: _Optional[_Union[LeaseState, str]] = ..., job_id: _Optional[str] = ..., waiting_jobs: _Optional[int] = ..., fencing_token: _Optional[int] = ..., granted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., parked_bytes: _Optional[int] = ..., pid: _Optional[int] = ...) -> None: ...

class WaitingRequest(_message.Message):
    __slots__ = ("tenant", "job_id", "priority", "min_bytes", "position", "eta", "reason", "waiting_since")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MIN_BYTES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WAITING_SINCE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    job_id: str
    priority: _common_pb2.Priority
    min_bytes: int
    position: int
    eta: _duration_pb2.Duration
    reason: str
    waiting_since: _timestamp_pb2.Timestamp
    def __init__(self, tenant: _Optional[str] = ..., job_id: _Optional[str] = ..., priority: _Optional[_Union[_common_pb2.Priority, str]] = ..., min_bytes: _Optional[int] = ..., position: _Optional[int] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ..., waiting_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("time", "action", "tenant", "device", "bytes", "reason", "job_id", "fencing_token")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    FENCING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    action: str
    tenant: str
    device: str
    bytes: int
    reason: str
    job_id: str
    fencing_token: int
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[str] = ..., tenant: _Optional[str] = ..., device: _Optional[str] = ..., bytes: _Optional[int] = ..., reason: _Optional[str] = ..., job_id: _Optional[str] = ..., fencing_token: _Optional[int] = ...) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ("leases", "next_page_token")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseStatus]
    next_page_token: str
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseStatus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeLeaseRequest(_message.Message):
    __slots__ = ("lease_id", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    reason: str
    def __init__(self, lease_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RevokeLeaseResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseStatus
    def __init__(self, lease: _Optional[_Union[LeaseStatus, _Mapping]] = ...) -> None: ...

class ReclaimMemoryRequest(_message.Message):
    __slots__ = ("device", "bytes")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    device: str
    bytes: int
    def __init__(self, device: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class ReclaimMemoryResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseStatus]
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseStatus, _Mapping]]] = ...) -> None: ...
