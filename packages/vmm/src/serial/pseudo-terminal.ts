import { close, closeSync, constants, openSync } from "node:fs";
import { SerialEndError } from "./serial-end.ts";

/** Both sides of a new pseudo terminal, as file descriptors, and the name under which others open the terminal's side. */
export interface PseudoTerminal {
  readonly master: number;
  readonly terminal: number;
  readonly name: string;
  /** Bytes that the terminal's side has not read yet. */
  unread(): number;
}

/** What `PseudoTerminal` needs of the C library; Node itself cannot make one. */
interface TerminalCalls {
  posix_openpt(flags: number): number;
  grantpt(fd: number): number;
  unlockpt(fd: number): number;
  ptsname_r(fd: number, buffer: Buffer, size: number): number;
  tcgetattr(fd: number, termios: Buffer): number;
  cfmakeraw(termios: Buffer): void;
  tcsetattr(fd: number, actions: number, termios: Buffer): number;
  /** Not variadic here: how a pointer is passed is the same on the machines that there are. */
  ioctl(fd: number, request: number, argument: Buffer): number;
}

/** More than `struct termios` takes anywhere. */
const TERMIOS_SIZE = 256;
const NAME_SIZE = 128;
/** POSIX: the change is made at once. */
const TCSANOW = 0;
/** Linux: how many bytes can be read, an int. */
const FIONREAD = 0x541b;

/** The C library by koffi, which is an optional dependency: it is not there where it has no prebuilt binary. */
async function loadCalls(): Promise<TerminalCalls> {
  try {
    const { default: koffi } = await import("koffi");
    const library = koffi.load(null);
    return {
      posix_openpt: library.func("int posix_openpt(int flags)"),
      grantpt: library.func("int grantpt(int fd)"),
      unlockpt: library.func("int unlockpt(int fd)"),
      ptsname_r: library.func("int ptsname_r(int fd, void *buffer, size_t size)"),
      tcgetattr: library.func("int tcgetattr(int fd, void *termios)"),
      cfmakeraw: library.func("void cfmakeraw(void *termios)"),
      tcsetattr: library.func("int tcsetattr(int fd, int actions, void *termios)"),
      ioctl: library.func("int ioctl(int fd, unsigned long request, void *argument)"),
    };
  } catch (error) {
    throw new SerialEndError(
      "unavailable",
      "a pty needs the optional package koffi, which is not installed or does not run here; use socket:unix:PATH instead",
      { cause: error },
    );
  }
}

/**
 * Makes a pseudo terminal in raw mode: neither side's bytes are changed or echoed. The terminal's side stays open here, so that
 * programs may open and close it as they like. Rejects with `SerialEndError`.
 */
export async function openPseudoTerminal(): Promise<PseudoTerminal> {
  const calls = await loadCalls();
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  const refuse = (what: string, cause?: unknown): never => {
    throw new SerialEndError("cannot-open", `cannot make a pty: ${what} failed`, { cause });
  };
  // A write to a terminal that nobody reads must fail, not wait: Node's threads are few, and the host needs them.
  const master = calls.posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
  if (master < 0) refuse("posix_openpt");
  try {
    if (calls.grantpt(master) !== 0) refuse("grantpt");
    if (calls.unlockpt(master) !== 0) refuse("unlockpt");
    const buffer = Buffer.alloc(NAME_SIZE);
    if (calls.ptsname_r(master, buffer, NAME_SIZE) !== 0) refuse("ptsname_r");
    const name = buffer.toString("utf8", 0, buffer.indexOf(0));
    const terminal = openSync(name, O_RDWR | O_NOCTTY);
    try {
      const termios = Buffer.alloc(TERMIOS_SIZE);
      if (calls.tcgetattr(terminal, termios) !== 0) refuse("tcgetattr");
      calls.cfmakeraw(termios);
      if (calls.tcsetattr(terminal, TCSANOW, termios) !== 0) refuse("tcsetattr");
      const count = Buffer.alloc(4);
      const unread = (): number => (calls.ioctl(terminal, FIONREAD, count) === 0 ? count.readInt32LE() : 0);
      return { master, terminal, name, unread };
    } catch (error) {
      closeSync(terminal);
      throw error;
    }
  } catch (error) {
    close(master, () => {});
    if (error instanceof SerialEndError) throw error;
    return refuse("opening it", error);
  }
}
