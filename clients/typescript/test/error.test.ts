import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { createMilimo, JobService, MilimoError } from "../src/index.js";

const detailed = new ConnectError("image.width: too large", Code.InvalidArgument, undefined, [
  { desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason: "INVALID_FIELD", domain: "milimo", metadata: { limit: "8192" } }) },
  { desc: BadRequestSchema, value: create(BadRequestSchema, { fieldViolations: [{ field: "image.width", description: "too large" }] }) },
  { desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay: create(DurationSchema, { seconds: 1n, nanos: 500_000_000 }) }) },
]);

function failing(error: Error) {
  const transport = createRouterTransport(({ service }) => {
    service(JobService, {
      getJob() {
        throw error;
      },
      // eslint-disable-next-line require-yield
      async *watchJob() {
        throw error;
      },
    });
  });
  return createMilimo({ baseUrl: "http://in-memory", transport });
}

const calls: [string, (error: Error) => Promise<unknown>][] = [
  ["unary", (error) => failing(error).jobs.getJob({ jobId: "1" })],
  ["streaming", async (error) => {
    for await (const event of failing(error).jobs.watchJob({ jobId: "1" })) assert.fail(`an event: ${event.jobId}`);
  }],
];

for (const [shape, call] of calls) {
  test(`a ${shape} call that fails throws a MilimoError with its details`, async () => {
    await assert.rejects(call(detailed), (thrown: unknown) => {
      assert.ok(thrown instanceof MilimoError);
      assert.ok(thrown instanceof ConnectError);
      assert.equal(thrown.code, Code.InvalidArgument);
      assert.equal(thrown.rawMessage, "image.width: too large");
      assert.equal(thrown.reason, "INVALID_FIELD");
      assert.deepEqual(thrown.facts, { limit: "8192" });
      assert.deepEqual(thrown.violations, [{ field: "image.width", description: "too large" }]);
      assert.equal(thrown.retryAfterMs, 1500);
      return true;
    });
  });

  test(`a ${shape} call that fails without details has an empty reason`, async () => {
    await assert.rejects(call(new ConnectError("away", Code.Unavailable)), (thrown: unknown) => {
      assert.ok(thrown instanceof MilimoError);
      assert.equal(thrown.code, Code.Unavailable);
      assert.equal(thrown.reason, "");
      assert.deepEqual(thrown.violations, []);
      assert.equal(thrown.retryAfterMs, undefined);
      return true;
    });
  });
}

test("anything that is thrown can be made a MilimoError, once", () => {
  const error = MilimoError.from(new TypeError("fetch failed"));
  assert.equal(error.code, Code.Unknown);
  assert.equal(error.rawMessage, "fetch failed");
  assert.equal(MilimoError.from(error), error);
  assert.ok(!(new ConnectError("plain") instanceof MilimoError));
});
