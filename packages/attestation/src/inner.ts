import type { CheckResult, Place } from "./check.ts";
import type { InputHash, Outcome } from "./outcome.ts";

/** Where an inner input lies: in which outer one, and from which byte on. */
export interface Within {
  readonly input: string;
  readonly offset: number;
}

/** A place in an inner input, as the place in the outer one that holds it. */
export function outerPlace(place: Place, within: Readonly<Record<string, Within>>): Place {
  const outer = within[place.input];
  return outer === undefined
    ? place
    : { input: outer.input, offset: place.offset + outer.offset, length: place.length };
}

/** The checks of evidence within other evidence: their ids get a prefix, and their places lead into what was handed over. */
export function innerChecks(
  { checks }: Outcome,
  prefix: string,
  within: Readonly<Record<string, Within>> = {},
): CheckResult[] {
  return checks.map((check) => ({
    ...check,
    id: `${prefix}${check.id}`,
    places: check.places.map((place) => outerPlace(place, within)),
  }));
}

/** The inputs of inner evidence that are not part of an outer one. */
export function innerInputs(
  { inputs }: Outcome,
  within: Readonly<Record<string, Within>> = {},
): readonly InputHash[] {
  return inputs.filter(({ name }) => within[name] === undefined);
}
