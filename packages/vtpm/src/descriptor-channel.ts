import { Socket } from "node:net";

/*
 * Node has no public interface that receives a file descriptor over a unix socket (SCM_RIGHTS), as CMD_SET_DATAFD needs. Its own IPC pipes
 * do: libuv takes descriptors off every message that it reads on such a pipe. So the control connection is opened as one. That uses
 * `process.binding`, which is deprecated (DEP0111) but in every Node from 20 to 24; where it is refused, connections work without.
 */

/** A connection that may bring descriptors along. */
export interface DescriptorConnection {
  readonly socket: Socket;
  /** The connected socket that came with the bytes of the last "data" event, once. */
  takeDescriptor(): Socket | undefined;
  /** Closes the connection and what of it came in and was not taken. */
  close(): void;
}

interface PipeHandle {
  open(descriptor: number): number | undefined;
  close(closed?: () => void): void;
  pendingHandle?: PipeHandle | null;
}
interface PipeBinding {
  readonly Pipe: new (kind: number) => PipeHandle;
  readonly constants: { readonly IPC: number };
}

function pipeBinding(): PipeBinding | undefined {
  const { binding } = process as unknown as { binding?: (name: string) => unknown };
  try {
    return binding?.call(process, "pipe_wrap") as PipeBinding | undefined;
  } catch {
    return undefined;
  }
}

/** `handle` is Node's own option of the constructor, which its documentation leaves out. */
function socketOf(handle: PipeHandle): Socket {
  const options: object = { handle, readable: true, writable: true };
  return new Socket(options);
}

/** Without descriptors: TCP, or a Node that refuses. */
export function plainConnection(socket: Socket): DescriptorConnection {
  return { socket, takeDescriptor: () => undefined, close: () => void socket.destroy() };
}

/** The handle of an IPC pipe on a connected unix socket; undefined: Node refuses, or there is no such socket. */
function openPipe(descriptor: number): PipeHandle | undefined {
  const binding = pipeBinding();
  if (binding === undefined) return undefined;
  const pipe = new binding.Pipe(binding.constants.IPC);
  // A code below 0 is the system's error.
  return (pipe.open(descriptor) ?? 0) < 0 ? undefined : pipe;
}

function pipeConnection(pipe: PipeHandle): DescriptorConnection {
  const socket = socketOf(pipe);
  const takeDescriptor = (): Socket | undefined => {
    const pending = pipe.pendingHandle ?? undefined;
    pipe.pendingHandle = null;
    return pending === undefined ? undefined : socketOf(pending);
  };
  const close = (): void => {
    takeDescriptor()?.destroy();
    socket.destroy();
  };
  return { socket, takeDescriptor, close };
}

/** Takes over the connected unix socket `descriptor`. Throws as `net.Socket` does when there is none. */
export function descriptorConnection(descriptor: number): DescriptorConnection {
  const pipe = openPipe(descriptor);
  return pipe === undefined ? plainConnection(new Socket({ fd: descriptor })) : pipeConnection(pipe);
}

/**
 * The same for a connection that `net.Server` with `pauseOnConnect` accepted. Two handles then share one descriptor: the accepted one never reads. Both
 * are closed in one go: an event later the number may be that of the next client, whose connection would be closed in its place, and the
 * event loop ends the process when it finds a descriptor gone.
 */
export function acceptedDescriptorConnection(accepted: Socket): DescriptorConnection {
  const { fd } = (accepted as Socket & { _handle?: { fd: number } | null })._handle ?? { fd: -1 };
  const pipe = fd < 0 ? undefined : openPipe(fd);
  if (pipe === undefined) {
    accepted.resume();
    return plainConnection(accepted);
  }
  const closeHandle = pipe.close;
  pipe.close = (closed) => {
    accepted.destroy();
    closeHandle.call(pipe, closed);
  };
  return pipeConnection(pipe);
}
