import { testPageIn } from "./page.ts";

testPageIn("WebKit");
