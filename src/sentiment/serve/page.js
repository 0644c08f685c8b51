// The page of the server. Texts of users are only ever put into the document as text.

const TYPING_PAUSE = 150; // milliseconds
const SPEAKING_PAUSE = 900;
const MOST_LABELS = 12;
const ROWS_AT_A_TIME = 64;
const CHARACTERS_AT_A_TIME = 200_000;
const MOST_TRIES = 60;

const at = (id) => document.getElementById(id);
const percent = (score) => `${(100 * score).toFixed(1)} %`;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let limits = { max_text: 100_000, max_texts: ROWS_AT_A_TIME, max_explained: 5_000 };

async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = at("key").value.trim();
  if (key) headers["X-API-Key"] = key;
  const response = await fetch(path, {
    method: "POST", headers, body: JSON.stringify(body), signal,
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) at("key-section").hidden = false;
  const error = new Error(answer.detail || `The server answered ${response.status}.`);
  error.retry = response.status === 503 ? Number(response.headers.get("Retry-After")) || 1 : 0;
  throw error;
}

const messageOf = (error) =>
  error instanceof TypeError ? "The server does not answer. Does it still run?" : error.message;

// A text

let typing, speaking, asked = null;

function show(answer) {
  const named = Object.entries(answer.scores).sort((a, b) => b[1] - a[1]);
  const best = answer.label ?? `Unsure: perhaps ${named[0][0]}`;
  const label = answer.score === null ? "No text" : `${best}, ${percent(answer.score)}`;
  at("answer").textContent = label;
  const rows = named.slice(0, MOST_LABELS).map(([name, score]) => {
    const row = document.createElement("li");
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.style.width = `${100 * score}%`;
    bar.setAttribute("aria-hidden", "true");
    const parts = [name, percent(score)].map((text) => {
      const part = document.createElement("span");
      part.textContent = text;
      return part;
    });
    row.append(bar, ...parts);
    return row;
  });
  at("scores").replaceChildren(...rows);
  const unknown = answer.tokens - answer.known_tokens;
  at("note").textContent = unknown
    ? `${unknown} of ${answer.tokens} tokens are unknown to the classifier.` : "";
  clearTimeout(speaking);
  speaking = setTimeout(() => { at("spoken").textContent = label; }, SPEAKING_PAUSE);
}

// Colours as in the HTML of sentiment.predict --html: blue for the label, orange against it.
function showWhy(answer) {
  const largest = Math.max(...answer.tokens.map(({ weight }) => Math.abs(weight))) || 1;
  const parts = [];
  const characters = Array.from(answer.text); // indices count characters, not units of UTF-16
  let end = 0;
  for (const { token, start, end: next, weight } of answer.tokens) {
    parts.push(characters.slice(end, start).join(""));
    const strength = Math.abs(weight) / largest;
    const word = document.createElement("span");
    word.textContent = token;
    if (strength > 0.08) {
      word.style.background = `rgba(${weight > 0 ? "110,170,255" : "255,160,80"},${strength.toFixed(2)})`;
      if (strength > 0.55) word.style.color = "#000";
    }
    parts.push(word);
    end = next;
  }
  at("colours").replaceChildren(...parts, characters.slice(end).join(""));
  const heaviest = [...answer.tokens].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, 5);
  const signed = ({ token, weight }) => `${token} ${weight < 0 ? "\u2212" : "+"}${Math.abs(weight).toFixed(2)}`;
  at("heaviest").textContent = heaviest.length
    ? `For (blue) or against (orange) ${answer.label}: ${heaviest.map(signed).join(", ")}` : "";
  at("why").hidden = false;
}

async function explain(text, mine) {
  try {
    if (text.length > limits.max_explained) {
      throw new Error(`Texts of over ${limits.max_explained.toLocaleString("en")} characters are not explained here.`);
    }
    const answer = await post("explain", { text }, mine.signal);
    if (mine === asked) showWhy(answer);
  } catch (error) {
    if (mine !== asked) return;
    at("colours").textContent = "";
    at("heaviest").textContent = messageOf(error);
    at("why").hidden = false;
  }
}

function clear() {
  clearTimeout(speaking);
  at("why").hidden = true;
  at("answer").textContent = "\u00a0";
  for (const id of ["spoken", "note", "problem"]) at(id).textContent = "";
  at("scores").replaceChildren();
}

async function ask() {
  asked?.abort(); // a stale answer is dropped
  const mine = asked = new AbortController();
  const text = at("text").value;
  if (!text.trim()) return clear();
  try {
    const answer = await post("predict", { text }, mine.signal);
    if (mine !== asked) return;
    at("problem").textContent = "";
    show(answer);
    at("why").hidden = true;
    if (at("explain").checked) explain(text, mine);
  } catch (error) {
    if (mine !== asked) return;
    clear();
    at("problem").textContent = messageOf(error);
    if (error.retry) typing = setTimeout(ask, 1000 * error.retry);
  }
}

function askSoon() {
  clearTimeout(typing);
  typing = setTimeout(ask, TYPING_PAUSE);
}

at("text").addEventListener("input", askSoon);
at("key").addEventListener("input", askSoon);
at("explain").addEventListener("change", ask);

// A CSV file

let table = null, stopping = null, url = null;

// Rows of cells; a quoted cell may hold separators, line breaks and doubled quotation marks.
export function parseCsv(text, separator) {
  const rows = [];
  let row = [], start = 0;
  const end = text.length;
  const breaks = new RegExp(`[${separator}\r\n]`, "g");
  while (start < end) {
    let cell = "";
    if (text[start] === '"') {
      let from = start + 1;
      for (;;) {
        const mark = text.indexOf('"', from);
        if (mark < 0) throw new Error(`Row ${rows.length + 1}: a quotation mark is never closed. If it belongs to the text, use sentiment.predict --csv.`);
        cell += text.slice(from, mark);
        from = mark + 1;
        if (text[from] !== '"') break;
        cell += '"';
        from += 1;
      }
      start = from;
    }
    breaks.lastIndex = start;
    const next = breaks.exec(text)?.index ?? end;
    row.push(cell + text.slice(start, next));
    start = next + 1;
    if (text[next] === separator) {
      if (start === end) row.push("");
      continue;
    }
    if (text[next] === "\r" && text[start] === "\n") start += 1;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  if (row.length) rows.push(row);
  return rows;
}

export function formatCsv(rows, separator) {
  const special = new RegExp(`["${separator}\r\n]`);
  const quoted = (cell) => (special.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => `${row.map(quoted).join(separator)}\r\n`).join("");
}

function separatorOf(name, text) {
  if (/\.tsv$/i.test(name)) return "\t";
  const first = text.slice(0, (text.indexOf("\n") + 1 || text.length + 1) - 1);
  return [",", ";", "\t"].sort((a, b) => first.split(b).length - first.split(a).length)[0];
}

async function open(file) {
  stopping?.abort();
  stopping = null;
  at("start").disabled = false;
  at("stop").hidden = true;
  for (const id of ["file-problem", "done", "found"]) at(id).textContent = "";
  for (const id of ["download", "options", "progress-section"]) at(id).hidden = true;
  table = null;
  try {
    const bytes = await file.arrayBuffer();
    let text;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      text = "\0";
    }
    if (text.includes("\0")) { // also a picture or a workbook
      throw new Error(`${file.name} is no CSV file in UTF-8. Save the table as CSV in UTF-8, or use sentiment.predict --encoding.`);
    }
    const separator = separatorOf(file.name, text);
    const rows = parseCsv(text, separator);
    if (!rows.length) throw new Error(`${file.name} has no rows.`);
    table = { name: file.name, separator, rows };
    at("options").hidden = false;
    showColumns();
  } catch (error) {
    at("file-problem").textContent = error.message;
  }
}

function showColumns() {
  if (!table) return;
  const names = at("header").checked ? table.rows[0] : table.rows[0].map((_, index) => `${index + 1}`);
  const rows = table.rows.slice(at("header").checked ? 1 : 0);
  at("found").textContent = `${table.name}: ${rows.length.toLocaleString("en")} rows`;
  const usual = names.findIndex((name) => /^(text|review|sentence|comment|tweet)s?$/i.test(name.trim()));
  const lengths = names.map((_, index) =>
    rows.slice(0, 50).reduce((sum, row) => sum + (row[index] ?? "").length, 0));
  const chosen = usual >= 0 ? usual : lengths.indexOf(Math.max(...lengths));
  at("column").replaceChildren(...names.map((name, index) =>
    new Option(name || `column ${index + 1}`, index, index === chosen, index === chosen)));
}

// Predict a group, and wait where the server is busy.
async function predictGroup(texts, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await post("predict", { texts }, signal);
    } catch (error) {
      if (!error.retry || tries === MOST_TRIES) throw error;
      await sleep(1000 * error.retry);
      signal.throwIfAborted();
    }
  }
}

async function label() {
  const { name, separator, rows } = table;
  const column = Number(at("column").value);
  const named = at("header").checked;
  const body = rows.slice(named ? 1 : 0);
  const width = rows.reduce((most, row) => Math.max(most, row.length), 0);
  const padded = (row) => [...row, ...Array(width - row.length).fill("")];
  const header = named ? rows[0] : null;
  const taken = new Set(header?.map((each) => each.trim().toLowerCase()));
  const added = taken.has("label") || taken.has("score") ? ["predicted_label", "predicted_score"] : ["label", "score"];
  const answers = [];
  let long = 0;
  const mine = stopping = new AbortController();
  for (const id of ["file-problem", "done"]) at(id).textContent = "";
  at("download").hidden = true;
  at("progress-section").hidden = at("stop").hidden = false;
  at("start").disabled = true;
  at("progress").max = body.length || 1;
  at("progress").value = 0;
  try {
    while (answers.length < body.length) {
      const group = [];
      let characters = 0;
      for (const row of body.slice(answers.length, answers.length + Math.min(ROWS_AT_A_TIME, limits.max_texts))) {
        let text = row[column] ?? "";
        if (text.length > limits.max_text) { long += 1; text = ""; }
        characters += text.length;
        if (group.length && characters > CHARACTERS_AT_A_TIME) break;
        group.push(text);
      }
      answers.push(...await predictGroup(group, mine.signal));
      at("progress").value = answers.length;
    }
    const abstains = answers.some((answer) => "abstained" in answer);
    if (abstains) added.push(taken.has("abstained") ? "predicted_abstained" : "abstained");
    const labelled = body.map((row, index) => {
      const { label: found, score, abstained } = answers[index];
      const cells = score === null ? ["", ""] : [score.toFixed(6), `${abstained}`];
      return [...padded(row), found ?? "", ...cells.slice(0, abstains ? 2 : 1)];
    });
    const all = header ? [[...padded(header), ...added], ...labelled] : labelled;
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([formatCsv(all, separator)], { type: "text/csv" }));
    const link = at("download");
    link.href = url;
    link.download = name.replace(/(\.[^.]*)?$/, "_labelled$1");
    link.textContent = `Download ${link.download}`;
    link.hidden = false;
    const left = long ? ` ${long.toLocaleString("en")} texts of more than ${limits.max_text.toLocaleString("en")} characters have no label.` : "";
    at("done").textContent = `${body.length.toLocaleString("en")} rows labelled.${left}`;
  } catch (error) {
    const where = `after ${answers.length.toLocaleString("en")} rows`;
    if (mine === stopping) {
      at("file-problem").textContent = mine.signal.aborted ? `Stopped ${where}.` : `${messageOf(error)} (${where})`;
    }
  } finally {
    if (mine === stopping) {
      at("start").disabled = false;
      at("stop").hidden = true;
    }
  }
}

at("file").addEventListener("change", () => at("file").files[0] && open(at("file").files[0]));
at("header").addEventListener("change", showColumns);
at("stop").addEventListener("click", () => stopping?.abort());
at("options").addEventListener("submit", (event) => {
  event.preventDefault();
  label();
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault(); // else the browser leaves the page for the file
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

// What is served

fetch("health").then((response) => response.json()).then((health) => {
  limits = health;
  at("key-section").hidden = !health.needs_key;
  const names = health.labels.slice(0, MOST_LABELS).join(", ");
  const more = health.labels.length > MOST_LABELS ? ` and ${health.labels.length - MOST_LABELS} more` : "";
  at("served").textContent = `Labels: ${names}${more}. sentiment ${health.version}.`;
  askSoon(); // for a text that the browser has kept
}).catch((error) => { at("problem").textContent = messageOf(error); });
