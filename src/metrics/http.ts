/** Metrics for what speaks HTTP: `curl --unix-socket /run/kmsfs/<mount>/control.sock http://kmsfs/metrics`. */

import { createServer, type IncomingMessage, type Server } from "node:http";
import { messageOf } from "../errors.js";
import { CONTENT_TYPES, type Format } from "./exposition.js";

/** A server that listens nowhere: connections are handed to it. */
export function metricsServer(expose: (format: Format) => Promise<string>): Server {
  return createServer((request, response) => {
    const path = (request.url ?? "/").split("?", 1)[0];
    if (path !== "/metrics") {
      response.writeHead(404, { "content-type": "text/plain" }).end("there is /metrics only\n");
      return;
    }
    const format = wanted(request);
    expose(format).then(
      (text) => response.writeHead(200, { "content-type": CONTENT_TYPES[format] }).end(text),
      (error: unknown) =>
        response.writeHead(503, { "content-type": "text/plain" }).end(`${messageOf(error)}\n`),
    );
  });
}

/** OpenMetrics, unless the client names only the older format. */
function wanted({ headers }: IncomingMessage): Format {
  const accept = headers.accept ?? "*/*";
  return /application\/openmetrics-text|\*\/\*/.test(accept) || !accept.includes("text/plain")
    ? "openmetrics"
    : "prometheus";
}
