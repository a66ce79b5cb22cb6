// Prints what Khronos' validator says of the glTF files that are named: a JSON list of reports.
const fs = require("fs");
const validator = require("gltf-validator");

const reports = process.argv.slice(2).map((path) => validator.validateBytes(new Uint8Array(fs.readFileSync(path))));
Promise.all(reports).then((all) => console.log(JSON.stringify(all)));
