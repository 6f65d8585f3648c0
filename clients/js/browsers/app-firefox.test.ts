import { testAppIn } from "./app.ts";

testAppIn("Firefox");
