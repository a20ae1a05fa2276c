import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, constants, linkSync, openSync, readdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { EntresolError } from "@entresol/wire";

/** Thrown when somebody else has the folder. */
export class StateLockError extends EntresolError<"locked"> {
  override readonly name = "StateLockError";
}

/** A lock has a name of this form, and a number behind it. */
const lockName = (name: string): string => `.${name}.lock.`;
const NUMBER = /^[1-9]\d{0,14}$/;
/** Between two tries, in ms, as swtpm waits. */
const PAUSE = 10;

/** Where locks are: a folder's descriptor, and how their names begin. */
interface LockPlace {
  readonly folder: number;
  readonly prefix: string;
}

interface HeldLock {
  readonly server: Server;
  readonly place: LockPlace;
  readonly number: number;
}

export interface StateLockOptions {
  /** How often to try again, every 10 ms. */
  readonly retries?: number;
  /** Of what is locked, when it is not all of the folder. */
  readonly name?: string;
}

/**
 * A state folder that is one service's alone: two that write to it would undo what the other has answered. The lock is a unix socket in the folder on
 * which its holder listens. The system knows whether somebody does, in whatever container, and forgets it with the process; what is left of
 * one that was killed is found to be dead and put away.
 */
export class StateLock {
  readonly #lock: HeldLock;
  #held = true;

  private constructor(lock: HeldLock) {
    this.#lock = lock;
  }

  /** Throws `StateLockError` `locked`, and what the system throws for a folder that cannot be written to. */
  static async acquire(
    folder: string,
    { retries = 0, name = "tpm2" }: StateLockOptions = {},
  ): Promise<StateLock> {
    const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      for (let left = retries; ; left--) {
        const lock = await tryToLock({ folder: descriptor, prefix: lockName(name) });
        if (lock !== undefined) return new StateLock(lock);
        if (left <= 0) break;
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    closeSync(descriptor);
    throw new StateLockError("locked", `${folder}: another service uses this state`);
  }

  get held(): boolean {
    return this.#held;
  }

  async release(): Promise<void> {
    if (!this.#held) return;
    this.#held = false;
    // First the name: it is this service's own as long as it listens.
    const { server, place, number } = this.#lock;
    remove(lockPath(place, number));
    await new Promise((resolve) => server.close(resolve));
    closeSync(place.folder);
  }
}

/** By the descriptor: the path of a socket may have some hundred bytes only, and that of the folder may be longer. */
function inFolder({ folder, prefix }: LockPlace, rest: string): string {
  return `/proc/self/fd/${folder}/${prefix}${rest}`;
}

function lockPath(place: LockPlace, number: number): string {
  return inFolder(place, `${number}`);
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone, or another user's by now: then it is found to be dead.
  }
}

function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

/** False: `to` is there already. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Does somebody listen? Who cannot be asked is taken to. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error) => {
      const code = errorCode(error);
      resolve(code !== "ECONNREFUSED" && code !== "ENOENT");
    });
  });
}

/** Numbers of the locks that are there, the highest first. */
function lockNumbers({ folder, prefix }: LockPlace): number[] {
  const found = readdirSync(`/proc/self/fd/${folder}`)
    .filter((name) => name.startsWith(prefix) && NUMBER.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)));
  return found.sort((a, b) => b - a);
}

/** Of these locks, does somebody hold one? */
async function isAnyAlive(place: LockPlace, numbers: readonly number[]): Promise<boolean> {
  for (const number of numbers) if (await isAlive(lockPath(place, number))) return true;
  return false;
}

/**
 * Gives the socket `own` the number after the highest, if all that are there are dead: the name appears in one step, to one of all who try, and with
 * somebody listening behind it. Then it looks again: who was not there before may have come with any number, and of two who come at the same time
 * at least one sees the other. A lock is never taken away from somebody who may be alive. Undefined: somebody else has it.
 */
async function claim(place: LockPlace, own: string): Promise<number | undefined> {
  for (;;) {
    const before = lockNumbers(place);
    if (await isAnyAlive(place, before)) return undefined;
    const number = (before[0] ?? 0) + 1;
    // Nobody would find it.
    if (!NUMBER.test(`${number}`)) return undefined;
    if (!link(own, lockPath(place, number))) continue;
    const others = lockNumbers(place).filter((other) => other !== number);
    if (await isAnyAlive(place, others)) {
      remove(lockPath(place, number));
      continue;
    }
    for (const dead of others) remove(lockPath(place, dead));
    return number;
  }
}

/** Undefined: somebody else has it. */
async function tryToLock(place: LockPlace): Promise<HeldLock | undefined> {
  const own = inFolder(place, `${randomBytes(8).toString("hex")}.new`);
  const server = createServer((socket) => socket.destroy());
  server.listen(own);
  await once(server, "listening");
  server.unref();
  let number: number | undefined;
  try {
    number = await claim(place, own);
  } finally {
    remove(own);
    if (number === undefined) await new Promise((resolve) => server.close(resolve));
  }
  return number === undefined ? undefined : { server, place, number };
}
