import { Code } from "@connectrpc/connect";
import type { Client } from "@connectrpc/connect";

import { MilimoError } from "./error.js";
import { JobState } from "./gen/milimo/v1/jobs_pb.js";
import type { JobEvent, JobService } from "./gen/milimo/v1/jobs_pb.js";

export interface WatchOptions {
  /** The sequence of the last durable event that was seen. Default 0: from the beginning. */
  afterSequence?: bigint;
  /** Whether preview images are wanted. */
  previews?: boolean;
  /** Ends the watch with a MilimoError of the code Canceled. */
  signal?: AbortSignal;
  /** How often in a row a dropped stream is taken up again without an event in between. Default 10. */
  maxResumes?: number;
  /** Waits between two tries. Default: a timer. */
  delay?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

const FINAL: ReadonlySet<JobState> = new Set([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]);
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

/** What a connection that breaks looks like; a service that answers sends a reason with it. */
const BROKEN: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.Unknown,
  Code.Internal,
  Code.Aborted,
  Code.Canceled,
  Code.DataLoss,
]);

/** Whether the job has ended. */
export function isFinal(state: JobState): boolean {
  return FINAL.has(state);
}

function isDropped(error: MilimoError): boolean {
  return error.code === Code.Unavailable || (error.reason === "" && BROKEN.has(error.code));
}

function timer(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(handle);
      reject(MilimoError.from(signal?.reason));
    };
    const handle = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/**
 * The events of a job until its end. A stream that drops is taken up again after the last durable event: none of them is
 * missing and none comes twice. Ephemeral events (progress, previews) that pass meanwhile are lost.
 *
 * Throws a MilimoError when the job does not exist, when the signal aborts, or when the stream dropped too often.
 */
export async function* watchJob(
  client: Pick<Client<typeof JobService>, "watchJob">,
  jobId: string,
  options: WatchOptions = {},
): AsyncGenerator<JobEvent, void, undefined> {
  const { previews = false, signal, maxResumes = 10, delay = timer } = options;
  const call = signal === undefined ? {} : { signal };
  let last = options.afterSequence ?? 0n;
  let resumes = 0;
  for (;;) {
    try {
      for await (const event of client.watchJob({ jobId, afterSequence: last, previews }, call)) {
        if (event.durable ? event.sequence <= last : event.sequence < last) continue;
        resumes = 0;
        if (event.durable) last = event.sequence;
        yield event;
        if (event.durable && isFinal(event.state)) return;
      }
      return;
    } catch (thrown) {
      const error = MilimoError.from(thrown);
      if (signal?.aborted || !isDropped(error) || resumes >= maxResumes) throw error;
      await delay(error.retryAfterMs ?? Math.min(FIRST_DELAY_MS * 2 ** resumes, LONGEST_DELAY_MS), signal);
      resumes += 1;
    }
  }
}
