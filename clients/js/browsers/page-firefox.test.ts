import { testPageIn } from "./page.ts";

testPageIn("Firefox");
