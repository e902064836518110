import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const station = process.env.CUPOLA_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: "../src/cupola/web/static",
    emptyOutDir: true,
    // The page is served under a policy without data: addresses and inline scripts.
    assetsInlineLimit: 0,
    modulePreload: false,
    target: "es2022",
  },
  server: { proxy: { "/api": station, "/ws": { target: station, ws: true } } },
  test: { include: ["tests/**/*.test.ts"], environment: "node", css: true },
});
