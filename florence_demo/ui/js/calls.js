// The call that asks what a card asked, for Python, curl and JavaScript. What a person typed is
// written as each of the three writes a text, so that nothing of it is code.
const KEYED = __KEYED__;
const address = () => location.href.split(/[?#]/)[0].replace(/\/$/, '');
const NAMES = {true: 'True', false: 'False', null: 'None'};
// A text of JSON is one of Python too; its three other words are not.
const python = value => (Array.isArray(value) ? `[${value.map(python).join(', ')}]`
  : typeof value === 'string' ? JSON.stringify(value) : NAMES[value] ?? String(value));
const shell = text => `'${String(text).replaceAll("'", "'\\''")}'`;
const several = call => call.verb === 'ask_many';
const inPython = (call, file) => {
  const picture = `handle_file(${python(file)})`;
  const given = Object.entries(call.arguments).map(([name, value]) => `    ${name}=${python(value)},\n`);
  return 'from gradio_client import Client, handle_file\n\n'
    + `client = Client(${python(address())}${KEYED ? ', headers={"X-API-Key": "YOUR KEY"}' : ''})\n`
    + 'answer = client.predict(\n'
    + `    ${several(call) ? `pictures=[${picture}]` : `picture=${picture}`},\n`
    + `${given.join('')}    api_name="/${call.verb}",\n)\nprint(answer)\n`;
};
const inCurl = (call, file) => {
  // A text that begins with @ names no file, and one with a semicolon no type.
  const given = Object.entries(call.arguments).map(([name, value]) => ` \\\n  --form-string ${shell(
    `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)}`);
  const path = file.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  return `curl ${shell(`${address()}/v1/${call.verb}`)}`
    + `${KEYED ? ` \\\n  -H ${shell(`X-API-Key: YOUR KEY`)}` : ''} \\\n`
    + `  -F ${shell(`${several(call) ? 'pictures' : 'picture'}=@"${path}"`)}${given.join('')}\n`;
};
const inJavaScript = (call, file) => {
  const given = Object.entries(call.arguments).map(
    ([name, value]) => `  ${name}: ${JSON.stringify(value)},\n`);
  return 'import { readFile } from "node:fs/promises";\n'
    + 'import { Client } from "@gradio/client";\n\n'
    + `const picture = new Blob([await readFile(${JSON.stringify(file)})]);\n`
    + `const client = await Client.connect(${JSON.stringify(address())}`
    + `${KEYED ? ', { headers: { "X-API-Key": "YOUR KEY" } }' : ''});\n`
    + `const answer = await client.predict("/${call.verb}", {\n`
    + `  ${several(call) ? 'pictures: [picture]' : 'picture'},\n${given.join('')}});\n`
    + 'console.log(answer.data[0]);\n';
};
const LANGUAGES = {Python: inPython, curl: inCurl, JavaScript: inJavaScript};
