// A Vue application whose router has twenty pages and an address that moved. It imports the tracker.

import { createApp, h } from "vue";
import { createRouter, createWebHistory, RouterLink, RouterView, useRoute } from "vue-router";
import * as mm from "../../src/track.ts";

const Page = {
  setup() {
    const route = useRoute();
    return () => h(RouterLink, { id: "next", to: `/vue/${Number(route.params.number) + 1}` }, () => route.path);
  },
};

const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: "/vue/old", redirect: "/vue/new" },
    { path: "/vue/new", component: { render: () => h("p", "new") } },
    { path: "/vue/:number", component: Page },
  ],
});

const App = { render: () => [h(RouterLink, { id: "moved", to: "/vue/old" }, () => "moved"), h(RouterView)] };
createApp(App).use(router).mount("#root");

window.mm = mm;
mm.init(window.options);
