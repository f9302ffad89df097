// Says which documents a schema does not take. Standard input is JSON: {"schema": …, "documents": {"name": …}}; standard
// output is JSON too: {"name": "what is wrong"}, without those that are taken. A schema that is none ends it.
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";

const { schema, documents } = JSON.parse(readFileSync(0, "utf8"));
// Strict: an unknown keyword, or one that says nothing of its type, is a mistake in the schema.
const validate = new Ajv({ strict: true, allErrors: true }).compile(schema);
const refused = Object.entries(documents).flatMap(([name, document]) =>
  validate(document) ? [] : [[name, validate.errors.map((error) => `${error.instancePath} ${error.message}`).join("; ")]],
);
console.log(JSON.stringify(Object.fromEntries(refused)));
