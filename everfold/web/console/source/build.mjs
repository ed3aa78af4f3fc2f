// Builds the folder that it is told (`node build.mjs ../static`); `make console` runs it in a copy of this
// folder, so that no library ever lies in the package. The same versions give the same bytes.
import { build, transform } from "esbuild";
import { minify } from "terser";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";

const to = `${process.argv[2]}/`;
await mkdir(to, { recursive: true });
const made = await build({ entryPoints: ["main.js"], bundle: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none", write: false });
const compress = { passes: 4, unsafe: true, unsafe_arrows: true, unsafe_math: true, pure_getters: true, keep_fargs: false, ecma: 2022 };
const { code: script } = await minify(made.outputFiles[0].text, { module: true, compress });
await writeFile(`${to}console.js`, script);
const { code: style } = await transform(await readFile("console.css", "utf8"), { loader: "css", minify: true });
await writeFile(`${to}console.css`, style);
for (const file of ["index.html", "icon.svg"]) await copyFile(file, to + file);

// The libraries in the script are others' work: their licences go with it.
const libraries = ["htm", "preact", "@preact/signals", "@preact/signals-core"];
const notices = await Promise.all(libraries.map(async (name) => `${name}\n\n${await readFile(`node_modules/${name}/LICENSE`, "utf8")}`));
await writeFile(`${to}NOTICES.txt`, notices.join(`\n${"-".repeat(72)}\n`));
