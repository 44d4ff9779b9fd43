// Renders /openapi.json. Text only ever enters the page as text, never as markup.
const $ = (id) => document.getElementById(id);

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const table = (heads, rows) =>
  el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell) => el("td", {}, cell))))));

const code = (text) => el("code", {}, text);

function schemaName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(schemaName).filter((name) => name !== "null").join(" | ");
  if (schema.enum) return schema.enum.join(" | ");
  return schema.type === "array" ? `${schemaName(schema.items)}[]` : schema.type ?? "any";
}

function inputs(parameters) {
  return parameters.map((parameter) => ({
    parameter,
    field: el("input", { "aria-label": parameter.name, placeholder: schemaName(parameter.schema) }),
  }));
}

function request(path, method, fields, bodyField) {
  let target = path;
  const query = new URLSearchParams();
  const headers = { Accept: "application/json" };
  for (const { parameter, field } of fields) {
    if (parameter.in === "path") {
      // A fileId is pasted as clients send it, percent-encoded already.
      const value = field.value.includes("%") ? field.value : encodeURIComponent(field.value);
      target = target.replace(`{${parameter.name}}`, value);
    } else if (field.value && parameter.in === "query") query.set(parameter.name, field.value);
    else if (field.value) headers[parameter.name] = field.value;
  }
  if ($("key").value) headers["X-Api-Key"] = $("key").value;
  if (bodyField) headers["Content-Type"] = "application/json";
  const suffix = query.size ? `?${query}` : "";
  return fetch(target + suffix, { method, headers, body: bodyField?.value || undefined });
}

async function shown(answer) {
  const head = ["location", "etag", "ratelimit-remaining", "retry-after"]
    .filter((name) => answer.headers.get(name))
    .map((name) => `${name}: ${answer.headers.get(name)}`);
  const text = await answer.text();
  let body = text;
  try { body = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
  return [`${answer.status} ${answer.statusText}`, ...head, "", body].join("\n");
}

function tryIt(path, method, operation) {
  const fields = inputs(operation.parameters ?? []);
  const example = operation.requestBody?.content?.["application/json"]?.example;
  const body = operation.requestBody
    ? el("textarea", { rows: "7", "aria-label": "Body" }, JSON.stringify(example ?? {}, null, 2))
    : null;
  const out = el("pre", { hidden: "", "aria-live": "polite" });
  const send = async () => {
    out.hidden = false;
    out.textContent = "…";
    try { out.textContent = await shown(await request(path, method.toUpperCase(), fields, body)); }
    catch (error) { out.textContent = String(error); }
  };
  const rows = fields.map(({ parameter, field }) =>
    [code(parameter.name), parameter.in, parameter.description ?? "", field]);
  return el("details", {}, el("summary", {}, "Parameters, body, try it"),
    rows.length ? table(["name", "in", "meaning", "value"], rows) : null,
    body, el("button", { type: "button", onclick: send }, "Send"), out);
}

function answers(operation) {
  return table(["answer", "meaning", "body"], Object.entries(operation.responses).map(
    ([status, answer]) => {
      const schema = Object.values(answer.content ?? {})[0]?.schema;
      return [code(status), answer.description ?? "", code(schemaName(schema))];
    }));
}

function article(path, method, operation) {
  const scope = operation["x-scope"];
  return el("article", { id: operation.operationId },
    el("h3", {}, el("span", { class: "method" }, method), code(path)),
    el("p", {}, operation.summary ?? ""),
    operation.description ? el("p", {}, operation.description) : null,
    el("p", {}, code(operation.operationId), scope ? ` needs the scope “${scope}”` : " is open to all"),
    answers(operation), tryIt(path, method, operation));
}

const document_ = await (await fetch("/openapi.json")).json();
$("about").textContent = document_.info.description;
for (const tag of document_.tags) {
  const found = Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, operation]) => operation.tags?.includes(tag.name))
      .map(([method, operation]) => ({ path, method, operation })));
  if (!found.length) continue;
  $("index").append(el("h2", {}, tag.name), ...found.map(({ operation }) =>
    el("a", { href: `#${operation.operationId}` }, operation.operationId)));
  $("operations").append(el("h2", {}, tag.name), el("p", {}, tag.description),
    ...found.map(({ path, method, operation }) => article(path, method, operation)));
}
