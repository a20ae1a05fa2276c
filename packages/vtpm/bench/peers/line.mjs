/* A connection to a TPM service: one command at a time, its response by the length in the header. */
import { connect } from "node:net";

const RETRY_MS = 1;
const PATIENCE_MS = 10_000;

function attempt(place) {
  return new Promise((done) => {
    const line = new Line(place, done);
    line.socket.once("error", () => done(undefined));
  });
}

export class Line {
  /** Connects as soon as somebody listens. `ended` gives the status of the process that should, once it has ended. */
  static async open(place, ended) {
    for (const until = performance.now() + PATIENCE_MS; performance.now() < until; ) {
      const line = await attempt(place);
      if (line !== undefined) return line;
      if (ended() !== undefined) throw new Error(`the service ended with status ${ended()}`);
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
    throw new Error("the service does not listen");
  }

  #received = Buffer.alloc(0);
  #answered;

  constructor(place, connected) {
    this.socket = connect({ ...place, noDelay: true }, () => connected(this));
    this.socket.on("data", (bytes) => this.#take(bytes));
    this.socket.on("close", () => this.#answered?.(undefined));
  }

  #take(bytes) {
    const all = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    const whole = all.length >= 10 && all.length >= all.readUInt32BE(2);
    this.#received = whole ? Buffer.alloc(0) : all;
    if (whole) this.#answered(all);
  }

  /** The response to a command. */
  async send(command) {
    const response = await new Promise((answered) => {
      this.#answered = answered;
      this.socket.write(command);
    });
    if (response === undefined) throw new Error("the service closed the connection");
    return response;
  }

  close() {
    this.socket.destroy();
  }
}
