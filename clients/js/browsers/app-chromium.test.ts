import { testAppIn } from "./app.ts";

testAppIn("Chromium");
