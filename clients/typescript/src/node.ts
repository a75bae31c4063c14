import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { GrpcTransportOptions } from "@connectrpc/connect-node";

/** Native gRPC over HTTP/2, for Node. It streams both ways. */
export function createNodeTransport(baseUrl: string, options: Omit<GrpcTransportOptions, "baseUrl"> = {}): Transport {
  return createGrpcTransport({ ...options, baseUrl });
}
