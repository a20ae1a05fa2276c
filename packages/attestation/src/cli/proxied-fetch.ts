import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP, type Socket } from "node:net";
import { Readable } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import type { Fetch } from "../collateral/client.ts";
import { CommandError } from "./exit-status.ts";

/** The proxy for a URL by the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY, in small letters as well); undefined for none. */
export function proxyFor(url: string, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = (name: string): string | undefined => environment[name.toLowerCase()] || environment[name];
  const { hostname, protocol } = new URL(url);
  const exceptions = (value("NO_PROXY") ?? "").split(",").map((one) => one.trim().replace(/^\*?\./, ""));
  if (
    exceptions.some(
      (one) => one === "*" || (one !== "" && (hostname === one || hostname.endsWith(`.${one}`))),
    )
  )
    return undefined;
  return value(protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY");
}

function proxyOf(text: string): { host: string; port: number; authorization: string | undefined } {
  let url: URL;
  try {
    url = new URL(text.includes("://") ? text : `http://${text}`);
  } catch {
    // Without the text: it may hold a password.
    throw new CommandError("the proxy is no address such as http://proxy:3128");
  }
  if (url.protocol !== "http:")
    throw new CommandError(`the proxy begins with ${url.protocol}//, only http:// is known`);
  const { hostname, port, username, password } = url;
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return {
    host: hostname,
    port: port === "" ? 80 : Number(port),
    authorization: username === "" ? undefined : `Basic ${Buffer.from(login).toString("base64")}`,
  };
}

/** A tunnel through the proxy (RFC 9110, 9.3.6). */
function tunnel(proxy: ReturnType<typeof proxyOf>, authority: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { host, port, authorization } = proxy;
    const asked = httpRequest({
      host,
      port,
      method: "CONNECT",
      path: authority,
      headers: {
        host: authority,
        ...(authorization !== undefined && { "proxy-authorization": authorization }),
      },
      signal,
      agent: false,
    });
    asked.once("connect", ({ statusCode }, socket: Socket) => {
      if (statusCode === 200) resolve(socket);
      else {
        socket.destroy();
        reject(new Error(`the proxy ${host}:${port} answered ${statusCode}`));
      }
    });
    asked.once("response", ({ statusCode }) => {
      asked.destroy();
      reject(new Error(`the proxy ${host}:${port} answered ${statusCode}`));
    });
    asked.once("error", reject);
    asked.end();
  });
}

function answerOf(asked: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    asked.once("response", resolve);
    asked.once("error", reject);
    asked.end();
  });
}

/** The platform's fetch, but through the proxy that the environment, or `proxy`, names. Node 20's own does not go through any. */
export function fetchThroughProxy(proxy?: string): Fetch {
  return async (url, init) => {
    const through = proxy ?? proxyFor(url);
    if (through === undefined) return fetch(url, init);
    const known = proxyOf(through);
    const target = new URL(url);
    const secure = target.protocol === "https:";
    const { signal } = init;
    const headers = { ...init.headers, host: target.host };
    let asked: ClientRequest;
    if (secure) {
      const socket = await tunnel(known, `${target.hostname}:${target.port || 443}`, signal);
      asked = httpsRequest(target, {
        headers,
        signal,
        createConnection: () =>
          tlsConnect({
            socket,
            host: target.hostname,
            // An address has no name to ask for (RFC 6066, 3).
            ...(isIP(target.hostname) === 0 && { servername: target.hostname }),
          }),
      });
    } else
      asked = httpRequest({
        host: known.host,
        port: known.port,
        path: url,
        headers: {
          ...headers,
          ...(known.authorization !== undefined && { "proxy-authorization": known.authorization }),
        },
        signal,
        agent: false,
      });
    const response = await answerOf(asked);
    const status = response.statusCode ?? 0;
    if (status >= 300 && status < 400) {
      response.destroy();
      throw new Error(`a redirection to ${response.headers.location ?? "somewhere"}`);
    }
    return {
      status,
      headers: {
        get: (name) => {
          const value = response.headers[name.toLowerCase()];
          return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
        },
      },
      body: Readable.toWeb(response) as ReadableStream<Uint8Array>,
    };
  };
}
