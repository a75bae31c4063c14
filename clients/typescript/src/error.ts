import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import type { StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import type { DescMessage } from "@bufbuild/protobuf";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** A field of the request, by its path in the contract, and what is wrong with it. */
export interface FieldViolation {
  /** Such as "video.conditions[1].strength". */
  readonly field: string;
  readonly description: string;
}

/**
 * A failed call: its status code, and the details that Milimo sends with it.
 *
 * Its `name` stays "ConnectError": by that name other code built on connect recognizes the errors of calls.
 */
export class MilimoError extends ConnectError {
  /** UPPER_SNAKE_CASE, such as "MODEL_MISSING"; empty when no service answered. */
  readonly reason: string;
  /** What the reason is about, such as the id that was not found. */
  readonly facts: Readonly<Record<string, string>>;
  /** The fields at fault. */
  readonly violations: readonly FieldViolation[];
  /** When to try again, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(error: ConnectError) {
    super(error.rawMessage, error.code, error.metadata, undefined, error.cause);
    this.details = error.details;
    const [info] = error.findDetails(ErrorInfoSchema);
    this.reason = info?.reason ?? "";
    this.facts = { ...info?.metadata };
    this.violations = error
      .findDetails(BadRequestSchema)
      .flatMap((request) => request.fieldViolations)
      .map(({ field, description }) => ({ field, description }));
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.retryAfterMs = delay === undefined ? undefined : durationMs(delay);
  }

  /** Any thrown value as a MilimoError. */
  static override from(thrown: unknown): MilimoError {
    return thrown instanceof MilimoError ? thrown : new MilimoError(ConnectError.from(thrown));
  }

  /** ConnectError compares by name, which would take every ConnectError for this one. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && MilimoError.prototype.isPrototypeOf(value);
  }
}

async function* typed<T>(messages: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (thrown) {
    throw MilimoError.from(thrown);
  }
}

/** The same transport, whose calls fail with a MilimoError. */
export function withMilimoErrors(transport: Transport): Transport {
  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      ...args: Parameters<Transport["unary"]>
    ): Promise<UnaryResponse<I, O>> {
      try {
        return (await transport.unary(...args)) as UnaryResponse<I, O>;
      } catch (thrown) {
        throw MilimoError.from(thrown);
      }
    },
    async stream<I extends DescMessage, O extends DescMessage>(
      ...args: Parameters<Transport["stream"]>
    ): Promise<StreamResponse<I, O>> {
      try {
        const response = (await transport.stream(...args)) as StreamResponse<I, O>;
        return { ...response, message: typed(response.message) };
      } catch (thrown) {
        throw MilimoError.from(thrown);
      }
    },
  } as Transport;
}
