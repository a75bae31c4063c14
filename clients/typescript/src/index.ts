import type { Transport } from "@connectrpc/connect";

import { clientsOver } from "./client.js";
import type { Milimo } from "./client.js";
import { createWebTransport } from "./web.js";

export interface MilimoOptions {
  /** Address of the gateway, such as "http://127.0.0.1:8080". */
  baseUrl: string;
  /** Default: gRPC-Web, which runs everywhere. On Node, `createNodeTransport` of "milimo/node" also sends streams. */
  transport?: Transport;
}

/** Connects to a mesh: a typed client for each public service. */
export function createMilimo(options: MilimoOptions): Milimo {
  return clientsOver(options.transport ?? createWebTransport(options.baseUrl));
}

export { services } from "./client.js";
export type { Milimo } from "./client.js";
export { MilimoError, withMilimoErrors } from "./error.js";
export type { FieldViolation } from "./error.js";
export { isFinal, watchJob } from "./watch.js";
export type { WatchOptions } from "./watch.js";
export { Code } from "@connectrpc/connect";

export * from "./gen/milimo/v1/arbiter_pb.js";
export * from "./gen/milimo/v1/assets_pb.js";
export * from "./gen/milimo/v1/common_pb.js";
export * from "./gen/milimo/v1/compat_pb.js";
export * from "./gen/milimo/v1/elements_pb.js";
export * from "./gen/milimo/v1/image_pb.js";
export * from "./gen/milimo/v1/jobs_pb.js";
export * from "./gen/milimo/v1/models_pb.js";
export * from "./gen/milimo/v1/projects_pb.js";
export * from "./gen/milimo/v1/prompts_pb.js";
export * from "./gen/milimo/v1/segmentation_pb.js";
export * from "./gen/milimo/v1/storyboard_pb.js";
export * from "./gen/milimo/v1/video_pb.js";
