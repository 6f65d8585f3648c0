import { testIn } from "./scenarios.ts";

testIn("WebKit");
