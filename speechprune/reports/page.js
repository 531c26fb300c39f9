"use strict";
// Shows the answers of a run. All texts are set as text, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const [list, detail, audio] = ["list", "detail", "audio"].map(byId);
const FILTERS = ["search", "outcome", "method", "recording", "unsure", "sort"];
const OUTCOMES = {wrong: "✗ wrong", right: "✓ right", failed: "⚠ failed", unjudged: "– not judged"};
const UNSURE = 0.6; // as the label of the filter states
const ROW_CHARACTERS = 200;
const isWide = matchMedia("(min-width: 60rem)");

// small helpers

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter(child => child !== null));
  return made;
}
function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
const text = (value, className = "") => element("span", {className: `text ${className}`, dir: "auto"}, value);
const percent = share => `${(100 * share).toFixed(1)} %`;
const number = value => value.toLocaleString("en");
function clock(seconds) {
  const tenths = Math.round(10 * seconds), whole = Math.floor(tenths / 10);
  const two = value => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  return (hours ? `${hours}:${two(minutes % 60)}` : minutes) + `:${two(whole % 60)}.${tenths % 10}`;
}

// the list

for (const [place, item] of data.items.entries()) {
  item.place = place;
  item.from = data.recordings[item.recording];
  const texts = [item.id, item.question, item.text, item.gold, item.error, item.method, item.benchmark,
    item.from.address, ...(item.choices ?? []), ...item.evidence.map(span => span[3])];
  item.searched = texts.filter(Boolean).join("\n").toLowerCase();
}
const SORTS = {
  worth: ["wrong and uncertain first", (a, b) => a.place - b.place],
  unsure: ["least certain first", (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2)],
  recording: ["by recording", (a, b) => a.from.name.localeCompare(b.from.name) || a.id.localeCompare(b.id)],
  cost: ["most TFLOPs first", (a, b) => (b.tflops ?? 0) - (a.tflops ?? 0)],
  recall: ["least gold evidence kept first", (a, b) => (a.recall ?? 2) - (b.recall ?? 2)],
};
let shown = [], chosen = null;

function fill(id, options) {
  for (const [value, label] of options) byId(id).append(element("option", {value}, label));
  byId(id).hidden = options.length < 2;
}
function fillFilters() {
  const methods = [...new Set(data.items.map(item => item.method))].sort();
  const outcomes = Object.keys(OUTCOMES).filter(key => data.items.some(item => item.outcome === key));
  const recordings = data.recordings.map((recording, i) => [String(i), recording.name]);
  recordings.sort((a, b) => a[1].localeCompare(b[1]));
  fill("outcome", [["", "all outcomes"], ...outcomes.map(key => [key, OUTCOMES[key]])]);
  fill("method", methods.length > 1 ? [["", "all methods"], ...methods.map(name => [name, name])] : []);
  fill("recording", recordings.length > 1 ? [["", "all recordings"], ...recordings] : []);
  fill("sort", Object.entries(SORTS).map(([key, [label]]) => [key, label]));
  byId("unsure").parentElement.hidden = data.items.every(item => item.confidence === null);
}
function row(item) {
  if (item.row) return item.row;
  const answer = item.error ?? (item.prediction === item.text ? item.text : `${item.prediction}. ${item.text}`);
  const certain = item.confidence === null ? "" : `, ${percent(item.confidence)} sure`;
  const gold = item.gold !== null && item.outcome === "wrong" ? `, gold ${item.gold}` : "";
  const button = element("button", {type: "button", onclick: () => choose(item)},
    element("span", {}, element("b", {className: "outcome"}, OUTCOMES[item.outcome]), certain + gold),
    text(item.question.slice(0, ROW_CHARACTERS)),
    text(answer.slice(0, ROW_CHARACTERS), "small"),
    text(`${item.from.name.slice(-60)} · ${item.method} · ${item.id}`.slice(0, ROW_CHARACTERS), "small"));
  item.row = element("li", {className: `row ${item.outcome}`}, button);
  return item.row;
}
function filter() {
  const wanted = byId("search").value.trim().toLowerCase();
  const [outcome, method, recording] = ["outcome", "method", "recording"].map(id => byId(id).value);
  shown = data.items.filter(item =>
    (!outcome || item.outcome === outcome) && (!method || item.method === method) &&
    (!recording || item.recording === Number(recording)) &&
    (!byId("unsure").checked || (item.confidence !== null && item.confidence < UNSURE)) &&
    (!wanted || item.searched.includes(wanted)));
  shown.sort(SORTS[byId("sort").value][1]);
  list.replaceChildren(...shown.map(row));
  if (!shown.length) list.append(element("li", {id: "empty"}, "no item passes these filters"));
  byId("count").value = `${number(shown.length)} of ${number(data.items.length)} items`;
  if (chosen && !shown.includes(chosen)) choose(isWide.matches ? shown[0] ?? null : null);
  else remember();
}

// filters and item stand behind the # of the address, so that a link leads to them

function remember() {
  const state = new URLSearchParams();
  for (const id of FILTERS) {
    const value = id === "unsure" ? (byId(id).checked ? "1" : "") : byId(id).value;
    if (value && value !== "worth") state.set(id, value);
  }
  if (chosen) state.set("item", chosen.place);
  history.replaceState(null, "", `#${state}`);
}
function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of FILTERS) {
    if (!state.has(id)) continue;
    if (id === "unsure") byId(id).checked = true;
    else byId(id).value = state.get(id);
    if (byId(id).selectedIndex === -1) byId(id).selectedIndex = 0; // no such option
  }
  return data.items[state.get("item")] ?? null;
}

// one item

function choose(item, {scroll = false} = {}) {
  stop();
  chosen?.row?.firstChild.removeAttribute("aria-current");
  chosen = item === chosen && !isWide.matches && !scroll ? null : item; // on a phone a second tap closes it
  detail.replaceChildren(...(chosen ? describe(chosen) : []));
  placeDetail();
  if (chosen) {
    row(chosen).firstChild.setAttribute("aria-current", "true");
    detail.scrollTop = 0;
    if (scroll) chosen.row.scrollIntoView({block: isWide.matches ? "nearest" : "start"});
  }
  remember();
  showPlace();
}
function placeDetail() {
  if (isWide.matches || !chosen) document.querySelector("main").append(detail);
  else row(chosen).append(detail);
}
function describe(item) {
  const parts = [
    element("p", {className: `${item.outcome}`}, element("b", {className: "outcome"}, OUTCOMES[item.outcome])),
    element("h2", {}, text(item.question, "long"))];
  if (item.error !== null) parts.push(element("p", {className: "error"}, text(`${item.error_type}: ${item.error}`, "long")));
  else parts.push(item.choices ? choicesTable(item) : element("p", {}, text(item.text, "long")));
  if (!item.choices && item.gold !== null) parts.push(element("p", {}, "gold: ", text(item.gold, "long")));
  if (item.error === null) parts.push(...listening(item));
  if (item.num_kept !== null) {
    parts.push(element("h3", {}, "Cost"));
    const share = percent(item.num_kept / Math.max(1, item.num_tokens));
    parts.push(element("p", {}, `${number(item.num_kept)} of ${number(item.num_tokens)} audio tokens kept (${share}); ` +
      `${item.tflops.toPrecision(3)} TFLOPs in all`));
  }
  const about = {method: item.method, benchmark: item.benchmark, item: item.id, recording: item.from.address};
  parts.push(element("dl", {className: "about"}, ...Object.entries(about).filter(([, value]) => value !== null)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, text(value, "long"))])));
  const lines = data.details.map((column, i) => item.details[i] === "" ? null : element("tr", {title: column.comment},
    element("td", {}, column.name), element("td", {className: "number"}, text(item.details[i])),
    element("td", {className: "faint"}, column.unit)));
  parts.push(element("details", {}, element("summary", {}, "all measures"), element("table", {}, ...lines)));
  return parts;
}
function choicesTable(item) {
  const lines = item.choices.map((choice, i) => {
    const letter = String.fromCharCode(65 + i), share = item.probabilities?.[i] ?? 0;
    const bar = element("div");
    bar.style.width = `${100 * share}%`;
    return element("tr", {className: letter === item.prediction ? "chosen" : ""},
      element("td", {}, letter), element("td", {}, text(choice, "long"), " ",
        letter === item.prediction ? element("span", {className: "tag"}, "▶ answer") : null, " ",
        letter === item.gold ? element("span", {className: "tag gold"}, "✓ gold") : null),
      element("td", {className: "bar"}, bar), element("td", {className: "number"}, percent(share)));
  });
  return element("table", {className: "choices"}, element("tbody", {}, ...lines));
}

document.addEventListener("DOMContentLoaded", () => {
  fillFilters();
  const first = recall();
  for (const id of FILTERS) byId(id).addEventListener(id === "search" ? "input" : "change", filter);
  byId("filters").addEventListener("submit", event => event.preventDefault());
  isWide.addEventListener("change", placeDetail);
  for (const [name, value] of Object.entries(data.facts)) {
    byId("facts").append(element("div", {}, element("dt", {}, name), element("dd", {}, text(value))));
  }
  filter();
  if (first || isWide.matches) choose(first ?? shown[0] ?? null, {scroll: first !== null});
});
