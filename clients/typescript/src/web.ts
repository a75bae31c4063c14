import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { GrpcWebTransportOptions } from "@connectrpc/connect-web";

/** gRPC-Web over fetch, for browsers. It cannot send streams: upload files by HTTP. */
export function createWebTransport(baseUrl: string, options: Omit<GrpcWebTransportOptions, "baseUrl"> = {}): Transport {
  return createGrpcWebTransport({ ...options, baseUrl });
}
