import { testIn } from "./scenarios.ts";

testIn("Chromium");
