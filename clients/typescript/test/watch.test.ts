import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";

import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { createMilimo, JobEventSchema, JobService, JobState, MilimoError } from "../src/index.js";
import type { JobEvent, WatchJobRequest } from "../src/index.js";

type Stream = (request: WatchJobRequest) => (JobEvent | Error)[];

function durable(sequence: bigint, state = JobState.RUNNING): JobEvent {
  return create(JobEventSchema, { jobId: "7", sequence, durable: true, state });
}

function progress(sequence: bigint, fraction: number): JobEvent {
  return create(JobEventSchema, {
    jobId: "7",
    sequence,
    state: JobState.RUNNING,
    event: { case: "progress", value: { fraction } },
  });
}

/** A service whose nth stream is what the nth script says; and what it was asked for. */
function scripted(...scripts: Stream[]) {
  const asked: bigint[] = [];
  const waits: number[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(JobService, {
      async *watchJob(request) {
        const script = scripts[asked.length];
        asked.push(request.afterSequence);
        assert.ok(script, "one stream too many");
        for (const step of script(request)) {
          if (step instanceof Error) throw step;
          yield step;
        }
      },
    });
  });
  const milimo = createMilimo({ baseUrl: "http://in-memory", transport });
  const delay = (ms: number): Promise<void> => {
    waits.push(ms);
    return Promise.resolve();
  };
  return { asked, waits, watch: (options = {}) => milimo.watchJob("7", { delay, ...options }) };
}

async function sequences(events: AsyncIterable<JobEvent>): Promise<bigint[]> {
  const found: bigint[] = [];
  for await (const event of events) if (event.durable) found.push(event.sequence);
  return found;
}

const dropped = () => new ConnectError("connection lost", Code.Unavailable);

test("a stream without trouble is passed on until the job's end", async () => {
  const { asked, watch } = scripted(() => [durable(1n), progress(1n, 0.5), durable(2n, JobState.SUCCEEDED)]);
  assert.deepEqual(await sequences(watch()), [1n, 2n]);
  assert.deepEqual(asked, [0n]);
});

for (const code of [Code.Unavailable, Code.Unknown, Code.Internal, Code.Aborted, Code.Canceled]) {
  test(`a stream dropped with ${Code[code]} is resumed without gap or repeat`, async () => {
    const { asked, watch } = scripted(
      () => [durable(1n), durable(2n), progress(2n, 0.3), new ConnectError("connection lost", code)],
      () => [dropped()],
      // A server that sends too much is no harm either.
      () => [durable(2n), durable(3n), dropped()],
      () => [durable(4n), durable(5n, JobState.CANCELLED)],
    );
    assert.deepEqual(await sequences(watch()), [1n, 2n, 3n, 4n, 5n]);
    assert.deepEqual(asked, [0n, 2n, 2n, 3n]);
  });
}

test("watching begins after a sequence", async () => {
  const { asked, watch } = scripted(() => [durable(8n), durable(9n, JobState.FAILED)]);
  assert.deepEqual(await sequences(watch({ afterSequence: 7n })), [8n, 9n]);
  assert.deepEqual(asked, [7n]);
});

test("a job that had ended before ends the watch", async () => {
  const { asked, watch } = scripted(() => []);
  assert.deepEqual(await sequences(watch({ afterSequence: 9n })), []);
  assert.equal(asked.length, 1);
});

test("progress of before the last durable event is left out", async () => {
  const { watch } = scripted(
    () => [durable(1n), durable(2n), dropped()],
    () => [progress(1n, 0.1), progress(2n, 0.6), durable(3n, JobState.SUCCEEDED)],
  );
  const fractions: number[] = [];
  for await (const event of watch()) if (event.event.case === "progress") fractions.push(event.event.value.fraction);
  assert.deepEqual(fractions, [0.6]);
});

test("the wait grows while nothing comes, and starts again after an event", async () => {
  const { waits, watch } = scripted(
    () => [dropped()],
    () => [dropped()],
    () => [dropped()],
    () => [durable(1n), dropped()],
    () => [durable(2n, JobState.SUCCEEDED)],
  );
  assert.deepEqual(await sequences(watch()), [1n, 2n]);
  assert.deepEqual(waits, [100, 200, 400, 100]);
});

test("a stream that drops too often is an error", async () => {
  const { asked, watch } = scripted(...Array.from({ length: 4 }, () => () => [dropped()]));
  await assert.rejects(sequences(watch({ maxResumes: 3 })), (thrown: unknown) => {
    return thrown instanceof MilimoError && thrown.code === Code.Unavailable;
  });
  assert.equal(asked.length, 4);
});

const answers: [Code, string][] = [
  [Code.NotFound, "NOT_FOUND"],
  [Code.InvalidArgument, "INVALID_FIELD"],
  [Code.Internal, "INTERNAL"],
  [Code.Unimplemented, ""],
];
for (const [code, reason] of answers) {
  test(`the answer ${Code[code]} ${reason} is no dropped stream`, async () => {
    const details = reason === "" ? [] : [{ desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason }) }];
    const { asked, watch } = scripted(() => [new ConnectError("no", code, undefined, details)]);
    await assert.rejects(sequences(watch()), (thrown: unknown) => {
      return thrown instanceof MilimoError && thrown.code === code && thrown.reason === reason;
    });
    assert.equal(asked.length, 1);
  });
}

test("an aborted watch ends at once", async () => {
  const controller = new AbortController();
  const { asked, watch } = scripted(() => [durable(1n), dropped()]);
  const events = watch({ signal: controller.signal });
  assert.equal((await events.next()).value?.sequence, 1n);
  controller.abort();
  await assert.rejects(events.next(), MilimoError);
  assert.equal(asked.length, 1);
});

test("the default wait ends when the signal aborts", async () => {
  const controller = new AbortController();
  const { watch } = scripted(() => [dropped()]);
  const next = watch({ delay: undefined, signal: controller.signal }).next();
  setImmediate(() => controller.abort());
  await assert.rejects(next, (thrown: unknown) => thrown instanceof MilimoError && thrown.code === Code.Canceled);
});
