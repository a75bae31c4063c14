"""A worker process for the arbiter's tests: holds a lease and tells what becomes of it, one JSON object a line.

python lease_holder.py ADDRESS TENANT BYTES
"""

from __future__ import annotations

import asyncio
import json
import sys

from milimo_runtime.lease import acquire
from milimo_runtime.lease_stream import arbiter_channel
from milimo_runtime.lease_terms import Claim, Grade


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def main(address: str, tenant: str, size: int) -> None:
    changed = asyncio.Event()
    async with arbiter_channel(address) as channel:
        lease = await acquire(
            channel,
            Claim(tenant=tenant, grades=(Grade(name="whole", bytes=size),), job_id=f"job of {tenant}"),
            on_queued=lambda place: tell(position=place.position),
            measure=lambda: size,
            on_change=changed.set,
        )
        tell(token=lease.grant.fencing_token)
        while lease.lost is None:
            await changed.wait()
            changed.clear()
        tell(lost=lease.lost)
        await lease.release()
        tell(released=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
