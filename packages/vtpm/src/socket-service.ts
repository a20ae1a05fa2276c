import { type Server, Socket } from "node:net";
import { waitForReader } from "./backpressure.ts";
import type { LockableStorage } from "./control-commands.ts";
import { ControlConnection } from "./control-connection.ts";
import { serveCommands } from "./data-connection.ts";
import {
  acceptedDescriptorConnection,
  type DescriptorConnection,
  descriptorConnection,
  plainConnection,
} from "./descriptor-channel.ts";
import { information } from "./information.ts";
import { type ListeningPlace, listen } from "./listening.ts";
import type { ProfileName } from "./profiles.ts";
import type { TpmHost } from "./tpm-host.ts";

/** A channel is listened for, or is a connection that the process was started with. */
export type ChannelPlace = ListeningPlace | { readonly kind: "connected"; readonly descriptor: number };

export interface SocketServiceOptions {
  readonly host: TpmHost;
  /** Undefined: commands come over a connection that the control channel brings. */
  readonly data?: ChannelPlace;
  readonly control?: ChannelPlace;
  /** A data connection ends with its first response. */
  readonly oneCommand?: boolean;
  /** The service ends when a data connection is lost. */
  readonly terminate?: boolean;
  /** The service ends when a control connection is lost. */
  readonly terminateWithControl?: boolean;
  /** What GET_INFO tells that the TPM offers. */
  readonly profile?: ProfileName;
  /** What a state is kept in, when somebody else could have it. */
  readonly storage?: LockableStorage;
  /** The state of a running TPM has left by the control channel. */
  handedOver?(): void;
  log?(line: string): void;
}

/**
 * swtpm's "socket" interface: TPM commands over one channel, control commands over another. Any number of clients on both; commands and
 * control commands run one at a time, in the order in which they came.
 */
export class SocketService {
  readonly #options: SocketServiceOptions;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Socket>();
  /** The data connection that CMD_SET_DATAFD brought, or that the process was started with. */
  #given: Socket | undefined;
  #ended = false;
  #end: () => void = () => {};
  /** Resolves when the service was asked to end: by SHUTDOWN, `close`, or the loss of a connection that it lives for. */
  readonly ended: Promise<void>;

  private constructor(options: SocketServiceOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Resolves when clients may come. Rejects with the system's error; nothing is left open then. */
  static async open(options: SocketServiceOptions): Promise<SocketService> {
    const service = new SocketService(options);
    try {
      await service.#open();
    } catch (error) {
      await service.close();
      throw error;
    }
    return service;
  }

  /** Port or path of a channel that is listened on, undefined when it is not. */
  get dataAddress(): string | number | undefined {
    return address(this.#servers[0]);
  }
  get controlAddress(): string | number | undefined {
    return address(this.#servers[this.#options.data === undefined ? 0 : 1]);
  }

  async #open(): Promise<void> {
    const { data, control } = this.#options;
    if (data?.kind === "connected") this.#serveGiven(new Socket({ fd: data.descriptor }));
    else if (data !== undefined) this.#servers.push(await listen(data, (socket) => this.#serveData(socket)));
    if (control?.kind === "connected") this.#serveControl(descriptorConnection(control.descriptor));
    else if (control !== undefined) {
      const unix = control.kind !== "tcp";
      this.#servers.push(
        await listen(control, (socket) =>
          this.#serveControl(unix ? acceptedDescriptorConnection(socket) : plainConnection(socket)),
        ),
      );
    }
  }

  /** Closes all connections and takes the TPM's power away. */
  async close(): Promise<void> {
    this.#finish();
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)));
    for (const socket of this.#connections) socket.destroy();
    await Promise.all(closed);
    this.#options.host.stop();
  }

  #finish(): void {
    this.#ended = true;
    this.#end();
  }

  #track(socket: Socket, closed: () => void): void {
    this.#connections.add(socket);
    socket.once("close", () => {
      this.#connections.delete(socket);
      closed();
    });
  }

  #serveData(socket: Socket): void {
    const { host, oneCommand, terminate, log } = this.#options;
    this.#track(socket, () => {
      if (terminate === true) this.#finish();
    });
    serveCommands(socket, { host, oneCommand: oneCommand === true, ...(log && { log }) });
  }

  #serveGiven(socket: Socket): void {
    this.#given = socket;
    socket.once("close", () => {
      this.#given = undefined;
    });
    const { host, terminate, log } = this.#options;
    this.#track(socket, () => {
      if (terminate === true) this.#finish();
    });
    serveCommands(socket, { host, ...(log && { log }) });
  }

  #serveControl(connection: DescriptorConnection): void {
    const { host, terminateWithControl, storage, handedOver, profile, log } = this.#options;
    const { socket } = connection;
    const descriptors: Socket[] = [];
    const control = new ControlConnection({
      host,
      surroundings: {
        shutdown: () => {
          // The reply is on its way first.
          setImmediate(() => this.#finish());
        },
        takeDataConnection: () => {
          const descriptor = descriptors.shift();
          if (this.#given !== undefined) {
            descriptor?.destroy();
            return "busy";
          }
          if (descriptor === undefined) return "none";
          this.#serveGiven(descriptor);
          return "taken";
        },
        information: (flags) => information(flags, profile),
        ...(storage && { storage }),
        ...(handedOver && { handedOver }),
      },
      send: (reply) => void socket.write(reply),
      end: () => connection.close(),
      ...(log && { log }),
    });
    this.#track(socket, () => {
      control.close();
      if (terminateWithControl === true) this.#finish();
    });
    socket.on("data", (bytes: Buffer) => {
      const descriptor = connection.takeDescriptor();
      if (descriptor !== undefined) descriptors.push(descriptor);
      if (!this.#ended) control.receive(bytes);
      // What no command asked for is not kept open.
      for (const unused of descriptors.splice(0)) unused.destroy();
      waitForReader(socket);
    });
    socket.on("error", (error) => log?.(`control: ${error.message}`));
    socket.resume();
  }
}

function address(server: Server | undefined): string | number | undefined {
  const place = server?.address();
  return typeof place === "object" && place !== null ? place.port : (place ?? undefined);
}
