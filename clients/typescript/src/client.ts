import { createClient } from "@connectrpc/connect";
import type { Client, Transport } from "@connectrpc/connect";

import { withMilimoErrors } from "./error.js";
import { MemoryArbiter } from "./gen/milimo/v1/arbiter_pb.js";
import { AssetService } from "./gen/milimo/v1/assets_pb.js";
import { CompatService } from "./gen/milimo/v1/compat_pb.js";
import { ElementService } from "./gen/milimo/v1/elements_pb.js";
import { ImageService } from "./gen/milimo/v1/image_pb.js";
import { JobService } from "./gen/milimo/v1/jobs_pb.js";
import type { JobEvent } from "./gen/milimo/v1/jobs_pb.js";
import { ModelService } from "./gen/milimo/v1/models_pb.js";
import { ProjectService } from "./gen/milimo/v1/projects_pb.js";
import { PromptService } from "./gen/milimo/v1/prompts_pb.js";
import { SegmentationService } from "./gen/milimo/v1/segmentation_pb.js";
import { StoryboardService } from "./gen/milimo/v1/storyboard_pb.js";
import { VideoService } from "./gen/milimo/v1/video_pb.js";
import { watchJob } from "./watch.js";
import type { WatchOptions } from "./watch.js";

/** The public services, by the names that `Milimo` gives their clients. */
export const services = {
  arbiter: MemoryArbiter,
  assets: AssetService,
  compat: CompatService,
  elements: ElementService,
  image: ImageService,
  jobs: JobService,
  models: ModelService,
  projects: ProjectService,
  prompts: PromptService,
  segmentation: SegmentationService,
  storyboard: StoryboardService,
  video: VideoService,
} as const;

/** A typed client for each public service. Failed calls throw a MilimoError. */
export type Milimo = { readonly [Name in keyof typeof services]: Client<(typeof services)[Name]> } & {
  /** The events of a job until its end, resumed by itself. */
  watchJob(jobId: string, options?: WatchOptions): AsyncGenerator<JobEvent, void, undefined>;
};

/** The clients of all services over one transport. */
export function clientsOver(transport: Transport): Milimo {
  const typed = withMilimoErrors(transport);
  const jobs = createClient(services.jobs, typed);
  return {
    arbiter: createClient(services.arbiter, typed),
    assets: createClient(services.assets, typed),
    compat: createClient(services.compat, typed),
    elements: createClient(services.elements, typed),
    image: createClient(services.image, typed),
    jobs,
    models: createClient(services.models, typed),
    projects: createClient(services.projects, typed),
    prompts: createClient(services.prompts, typed),
    segmentation: createClient(services.segmentation, typed),
    storyboard: createClient(services.storyboard, typed),
    video: createClient(services.video, typed),
    watchJob: (jobId, options) => watchJob(jobs, jobId, options),
  };
}
