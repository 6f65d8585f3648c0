// @millimetric/track: the tracker of a web page as an ES module.

import { createTracker } from "./tracker.ts";

export type { Options, Tracker } from "./tracker.ts";
export type { Properties } from "./wire.ts";

export const { init, track, identify, page, flush, getAnonymousId, setAnonymousId, optOut, optIn } =
  createTracker();
