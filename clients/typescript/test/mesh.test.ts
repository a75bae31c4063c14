// Against a running mesh: MILIMO_URL is the gateway's address.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { Code } from "@connectrpc/connect";

import { AssetKind, createMilimo, isFinal, MilimoError } from "../src/index.js";
import { createNodeTransport } from "../src/node.js";
import { createWebTransport } from "../src/web.js";

const url = process.env["MILIMO_URL"] ?? "";
const skip = url === "" ? "MILIMO_URL is not set" : false;

// A red PNG of 2 × 2 pixels.
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP8zwACTGCSAQANHQEDgslx/wAAAABJRU5ErkJggg==",
  "base64",
);

const transports = { web: createWebTransport, node: createNodeTransport } as const;

for (const [name, transport] of Object.entries(transports)) {
  const connect = () => createMilimo({ baseUrl: url, transport: transport(url) });

  test(`${name}: a project is made, read, listed and removed`, { skip }, async () => {
    const { projects } = connect();
    const requestId = randomUUID();
    const { project } = await projects.createProject({ project: { name: "Fïlm" }, requestId });
    assert.ok(project);
    const repeated = await projects.createProject({ project: { name: "Fïlm" }, requestId });
    assert.equal(repeated.project?.id, project.id);
    assert.equal((await projects.getProject({ projectId: project.id })).project?.name, "Fïlm");
    assert.ok((await projects.listProjects({})).projects.some(({ id }) => id === project.id));
    await projects.deleteProject({ projectId: project.id });
    await assert.rejects(projects.getProject({ projectId: project.id }), MilimoError);
  });

  test(`${name}: errors carry their reason and their field`, { skip }, async () => {
    const { jobs, watchJob } = connect();
    await assert.rejects(jobs.getJob({ jobId: "no-such-job" }), (thrown: unknown) => {
      assert.ok(thrown instanceof MilimoError);
      assert.equal(thrown.code, Code.NotFound);
      assert.equal(thrown.reason, "NOT_FOUND");
      assert.equal(thrown.violations[0]?.field, "job_id");
      return true;
    });
    await assert.rejects(watchJob("no-such-job").next(), MilimoError);
  });

  test(`${name}: a job is watched to its end, and again from the middle`, { skip }, async () => {
    const { image, projects, watchJob } = connect();
    const { project } = await projects.createProject({ project: { name: "job" } });
    assert.ok(project);
    const parameters = { prompt: "a red square", width: 64, height: 64, steps: 1 };
    const { job } = await image.submitImage({ projectId: project.id, image: parameters, requestId: randomUUID() });
    assert.ok(job);
    const seen: bigint[] = [];
    let ended = false;
    for await (const event of watchJob(job.id)) {
      if (event.durable) seen.push(event.sequence);
      ended = event.durable && isFinal(event.state);
    }
    assert.ok(ended);
    assert.deepEqual(seen, seen.map((_, index) => BigInt(index + 1)));
    const rest: bigint[] = [];
    for await (const event of watchJob(job.id, { afterSequence: 1n })) if (event.durable) rest.push(event.sequence);
    assert.deepEqual(rest, seen.slice(1));
    await projects.deleteProject({ projectId: project.id });
  });
}

test("node: a file is uploaded as a stream", { skip }, async () => {
  const { assets, projects } = createMilimo({ baseUrl: url, transport: createNodeTransport(url) });
  const { project } = await projects.createProject({ project: { name: "upload" } });
  assert.ok(project);
  const projectId = project.id;
  async function* pieces() {
    yield { projectId, name: "red", content: { contentType: "image/png", data: PNG.subarray(0, 40) } };
    yield { content: { data: PNG.subarray(40) } };
  }
  const { asset } = await assets.uploadAsset(pieces());
  assert.equal(asset?.kind, AssetKind.IMAGE);
  assert.deepEqual([asset.width, asset.height], [2, 2]);
  const file = await fetch(new URL(asset.url, url), { headers: { range: "bytes=1-3" } });
  assert.equal(file.status, 206);
  assert.equal(await file.text(), "PNG");
  await projects.deleteProject({ projectId });
});
