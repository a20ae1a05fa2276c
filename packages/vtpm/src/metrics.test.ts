import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { serveMetrics } from "./metrics.ts";
import { MemoryStore } from "./state-store.ts";
import { raw } from "./testing/loopback-client.ts";
import { TpmHost } from "./tpm-host.ts";

describe("metrics", () => {
  it("tell commands, failures and power in Prometheus's text format", async () => {
    const host = new TpmHost({ store: new MemoryStore() });
    host.start();
    const [startup, random] = [raw.startupClear, raw.getRandom].map((hex) => Buffer.from(hex, "hex"));
    for (const command of [random!, startup!, random!]) host.execute(command);
    const server = await serveMetrics(host, 0, "127.0.0.1");
    try {
      const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const answer = await fetch(`${base}/metrics`);
      expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4");
      const lines = (await answer.text()).split("\n").filter((line) => !line.startsWith("#"));
      expect(lines).toContain("entresol_vtpm_commands_total 3");
      expect(lines).toContain("entresol_vtpm_error_responses_total 1");
      expect(lines).toContain("entresol_vtpm_power_cycles_total 1");
      expect(lines).toContain("entresol_vtpm_powered 1");
      expect((await fetch(`${base}/`)).status).toBe(404);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
