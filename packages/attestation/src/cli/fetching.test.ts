import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { join } from "node:path";
import { encodePem } from "@entresol/evidence";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { amdCrlRequest, vcekRequest } from "../collateral/services.ts";
import { CollateralServer } from "../testing/collateral-server.ts";
import { run, scratchFolder } from "../testing/command.ts";
import { basicConstraints, certificate, keyPair } from "../testing/pki.ts";
import { chip, chipId, goodTcb } from "../testing/snp-evidence.ts";
import { DiskStore } from "./disk-store.ts";
import { fetchThroughProxy, proxyFor } from "./proxied-fetch.ts";

const server = await CollateralServer.start();
const scratch = scratchFolder();
afterAll(async () => {
  await server.stop();
  scratch[Symbol.dispose]();
});
beforeEach(() => {
  server.asked.length = 0;
});

const evidence = chip({ crl: {} });
const [leaf, ask, ark] = evidence.certificates;
const snp = join(scratch.path, "snp");
mkdirSync(snp);
writeFileSync(join(snp, "report.bin"), evidence.report);
writeFileSync(join(snp, "ask.der"), ask);
writeFileSync(join(snp, "ark.der"), ark);
const args = [
  snp,
  "--at",
  "2026-06-01T00:00:00Z",
  "--trust-root",
  join(snp, "ark.der"),
  "--kds",
  server.base,
];
const vcek = vcekRequest("Genoa", chipId, goodTcb).path;
const crl = amdCrlRequest("Genoa", "vcek").path;
const answers = (): void => {
  server.on(vcek, { does: "answer", bytes: leaf });
  server.on(crl, { does: "answer", bytes: evidence.crls?.[0] as Uint8Array });
};

describe("--fetch", () => {
  test("asks for what is missing, and keeps it on disk for the next time", async () => {
    answers();
    const cache = join(scratch.path, "cache");
    expect((await run(...args, "--fetch", "--cache", cache)).status).toBe(0);
    expect(server.asked).toEqual([vcek, crl]);
    expect(readdirSync(cache)).toHaveLength(2);
    expect((await run(...args, "--fetch", "--cache", cache)).status).toBe(0);
    expect(server.asked).toHaveLength(2);
  });

  test("says what could not be had, and does not accept", async () => {
    server.on(vcek, { does: "refuse", status: 404 });
    server.on(crl, { does: "refuse", status: 404 });
    const { status, stdout } = await run(...args, "--fetch", "--no-cache");
    expect(status).toBe(2);
    expect(stdout).toContain("vcek.der: could not be fetched");
    expect(stdout).toContain("answered 404");
  });

  test("is the only way to a service", async () => {
    answers();
    expect((await run(...args)).status).toBe(2);
    expect(server.asked).toEqual([]);
    expect((await run(...args, "--kds", "ftp://x")).stderr).toContain("https://");
  });

  test("with `collateral` makes a bundle that judges without a network", async () => {
    answers();
    const bundle = join(scratch.path, "bundle.json");
    const [path, ...others] = args as [string, ...string[]];
    const made = await run(
      "collateral",
      path,
      "--fetch",
      "--no-cache",
      "--kds",
      server.base,
      "--at",
      "2026-06-01T00:00:00Z",
      "--out",
      bundle,
    );
    expect(made.stderr).toBe("");
    expect(made.status).toBe(0);
    server.asked.length = 0;
    expect((await run(path, ...others, "--collateral", bundle)).status).toBe(0);
    expect(server.asked).toEqual([]);
  });
});

describe("a service that wants to be left alone", () => {
  test("is left alone by the next run as well", async () => {
    server.on(vcek, { does: "refuse", status: 429, headers: { "retry-after": "3600" } });
    const cache = join(scratch.path, "paused");
    const first = await run(...args, "--fetch", "--cache", cache);
    expect(first.stdout).toContain("wants to be left alone until");
    expect(server.asked).toEqual([vcek]);
    answers();
    expect((await run(...args, "--fetch", "--cache", cache)).status).toBe(2);
    expect(server.asked).toEqual([vcek]);
  });
});

describe("answers on disk", () => {
  const answer = {
    url: "https://a.example/b?c",
    at: 5,
    bytes: Uint8Array.of(1, 2),
    chain: new Uint8Array(0),
  };
  test("come back as they were, by their URL", async () => {
    const folder = join(scratch.path, "store");
    const store = new DiskStore(folder);
    expect(await store.get(answer.url)).toBeUndefined();
    await store.set(answer);
    expect(await new DiskStore(folder).get(answer.url)).toEqual(answer);
    expect(await store.get("https://a.example/b?d")).toBeUndefined();
    expect(readdirSync(folder)).toHaveLength(1);
  });
  test("that are broken, or of another URL, count as not there", async () => {
    const folder = join(scratch.path, "broken");
    const store = new DiskStore(folder);
    await store.set(answer);
    const file = join(folder, readdirSync(folder)[0] as string);
    for (const content of ["", "nonsense", Buffer.from([0xa1, 0x61, 0x61, 0x01])]) {
      writeFileSync(file, content);
      expect(await store.get(answer.url)).toBeUndefined();
    }
  });
});

describe("a proxy", () => {
  test("is the environment's, unless the host is an exception", () => {
    const environment = {
      HTTPS_PROXY: "http://p:1",
      http_proxy: "http://q:2",
      NO_PROXY: "inner.example, .lab",
    };
    expect(proxyFor("https://kds.example/x", environment)).toBe("http://p:1");
    expect(proxyFor("http://kds.example/x", environment)).toBe("http://q:2");
    for (const url of ["https://inner.example", "https://a.inner.example", "https://x.lab/"])
      expect(proxyFor(url, environment)).toBeUndefined();
    expect(proxyFor("https://notinner.example", environment)).toBe("http://p:1");
    expect(proxyFor("https://a.example", { ...environment, NO_PROXY: "*" })).toBeUndefined();
  });

  test("carries TLS, whose other end must be known", async () => {
    const key = keyPair("P-256", "tls");
    const own = certificate({ subject: "127.0.0.1", key, extensions: [basicConstraints(true)] });
    const service = createTlsServer(
      {
        key: key.privateKey.export({ type: "pkcs8", format: "pem" }),
        cert: encodePem("CERTIFICATE", own),
      },
      (_, response) => response.end("never"),
    );
    const proxy = createServer();
    proxy.on("connect", (_, socket: Socket) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const { port } = service.address() as AddressInfo;
      const onward = connect(port, "127.0.0.1");
      onward.on("error", () => socket.destroy());
      socket.on("error", () => onward.destroy());
      socket.pipe(onward).pipe(socket);
    });
    for (const each of [service, proxy])
      await new Promise<void>((resolve) => {
        each.listen(0, "127.0.0.1", resolve);
      });
    try {
      const through = fetchThroughProxy(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
      const init = { headers: {}, signal: new AbortController().signal, redirect: "error" } as const;
      await expect(through("https://127.0.0.1/a", init)).rejects.toThrow(/self-signed certificate/);
    } finally {
      for (const each of [service, proxy]) {
        each.closeAllConnections();
        await new Promise((resolve) => {
          each.close(resolve);
        });
      }
    }
  });

  test("is gone through, and its refusal is told", async () => {
    const lines: string[] = [];
    const proxy = createServer((request, response) => {
      lines.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? ""}`);
      response.writeHead(200, { "x-seen": "yes" }).end("through");
    });
    proxy.on("connect", (request, socket) => {
      lines.push(`CONNECT ${request.url}`);
      socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    await new Promise<void>((resolve) => {
      proxy.listen(0, "127.0.0.1", resolve);
    });
    const { port } = proxy.address() as AddressInfo;
    try {
      const through = fetchThroughProxy(`http://me:secret@127.0.0.1:${port}`);
      const init = { headers: {}, signal: new AbortController().signal, redirect: "error" } as const;
      const response = await through("http://service.example/a?b", init);
      expect(response.status).toBe(200);
      expect(response.headers.get("X-Seen")).toBe("yes");
      const { value } = (await response.body?.getReader().read()) ?? {};
      expect(new TextDecoder().decode(value)).toBe("through");
      await expect(through("https://service.example/a", init)).rejects.toThrow("answered 403");
      expect(lines).toEqual([
        `GET http://service.example/a?b Basic ${btoa("me:secret")}`,
        "CONNECT service.example:443",
      ]);
    } finally {
      proxy.closeAllConnections();
      await new Promise((resolve) => {
        proxy.close(resolve);
      });
    }
  });
});
