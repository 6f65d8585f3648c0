// Millimetric's script for web pages. https://github.com/millimetric/millimetric-mcp
//
//   <script async src="https://HOST/v1/a.js" data-key="pk_..."></script>

import { createTracker, type Tracker } from "./tracker.ts";

declare global {
  interface Window {
    mm?: Tracker;
  }
}

const script = document.currentScript as HTMLScriptElement | null;
if (!window.mm?.track) {
  window.mm = createTracker();
  const { key, host, cookieless, outbound } = script?.dataset ?? {};
  if (key) {
    window.mm.init({
      key,
      host: host || (script!.src && new URL(script!.src).origin),
      cookieless: cookieless !== undefined,
      outbound: outbound !== undefined,
    });
  }
}
