/** How the command was called: under swtpm's name it takes nothing for granted that swtpm does not. */
export interface Invocation {
  readonly name: "entresol-vtpm" | "swtpm";
  readonly program: string;
  readonly args: readonly string[];
}
