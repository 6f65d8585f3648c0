import { testIn } from "./scenarios.ts";

testIn("Firefox");
