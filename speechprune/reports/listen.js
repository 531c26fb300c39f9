// Timelines of a recording, and the player of its clips. Times are seconds of the recording.
const LEAD_SECONDS = 1; // played before a span
const SNAP_SHARE = 0.01; // of a timeline's width: how far from a clip a click still reaches it
const MIN_WIDTH = 3; // of a span, in thousandths of a timeline
const MIN_CLOSE_UP = 1.25; // times that a timeline must be longer than a clip for the clip to have its own
const player = {clip: null, frame: 0};

function listening(item) {
  const recording = item.from, parts = [element("h3", {}, "Evidence")];
  const spans = item.evidence.map(([start, end, score, words], i) => ({start, end, score, words, name: String(i + 1)}));
  if (!spans.length) parts.push(element("p", {className: "faint"}, "The method does not look at the question, so it names no evidence."));
  if (item.gold_span) spans.push({start: item.gold_span[0], end: item.gold_span[1], name: "gold"});
  if (recording.end > recording.start) {
    parts.push(timeline(item, spans, recording, recording.envelope, "whole"), legend(item, recording));
  }
  if (recording.note) parts.push(element("p", {className: "faint"}, text(recording.note, "long")));
  if (recording.clips.length) parts.push(element("p", {id: "now", role: "status"}));
  for (const span of spans) {
    const words = `${span.name === "gold" ? "gold evidence" : span.name} · ${clock(span.start)} to ${clock(span.end)}`;
    const kept = item.recall === null || span.name !== "gold" ? "" : `, ${percent(item.recall)} of its tokens kept`;
    const score = span.score === undefined ? kept : `, score ${span.score.toFixed(3)}`;
    const clip = clipAt(recording, span.start);
    const button = element("button", {type: "button", onclick: () => play(recording, Math.max(clip.start, span.start - LEAD_SECONDS))},
      "▶ play");
    parts.push(element("p", {className: "listen"}, clip ? button : null, element("span", {}, words + score), span.words ? text(span.words) : null));
  }
  for (const clip of recording.clips) {
    const own = spans.filter(span => span.start < clip.end && span.end > clip.start);
    if (own.length && (recording.end - recording.start) > MIN_CLOSE_UP * (clip.end - clip.start)) {
      parts.push(timeline(item, own, clip, clip.envelope, "close"));
    }
  }
  return parts;
}

// pictures

function timeline(item, spans, {start: from, end: to}, envelope, kind) {
  const x = seconds => 1000 * (seconds - from) / (to - from);
  const box = element("div", {className: `${kind} timeline`, title: "click to play from there"});
  const svg = drawn("svg", {viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img"});
  svg.append(drawn("title", {}));
  svg.firstChild.textContent = `${clock(from)} to ${clock(to)}: waveform, kept tokens, score, evidence`;
  if (envelope.length) svg.append(drawn("path", {class: "wave", d: wavePath(envelope)}));
  const parts = item.timeline.filter(([start, end]) => end > from && start < to);
  for (const [start, end, kept] of parts) {
    if (kept > 0) svg.append(drawn("rect", {class: "kept", x: x(start), width: x(end) - x(start), y: 100 - 100 * kept, height: 100 * kept}));
  }
  const scores = item.timeline.map(part => part[3]).filter(score => score !== null);
  const low = Math.min(...scores), range = Math.max(...scores) - low || 1;
  const points = parts.filter(part => part[3] !== null)
    .map(([start, end, , score]) => `${x((start + end) / 2)},${92 - 84 * (score - low) / range}`);
  svg.append(drawn("polyline", {class: "score", points: points.join(" ")}));
  for (const {start, end, name} of spans) {
    const place = {x: x(start), width: Math.max(MIN_WIDTH, x(end) - x(start)), y: 1, height: 98};
    svg.append(drawn("rect", {class: name === "gold" ? "gold-span" : "span", ...place}));
    const label = element("span", {className: name === "gold" ? "name gold" : "name"}, name);
    label.style.left = `${Math.min(97, Math.max(0, x(start) / 10))}%`;
    box.append(label);
  }
  for (const clip of kind === "whole" ? item.from.clips : []) {
    svg.append(drawn("rect", {class: "audible", x: x(clip.start), width: Math.max(MIN_WIDTH, x(clip.end) - x(clip.start)), y: 97, height: 3}));
  }
  for (const [share, place] of [[0, "first"], [0.25, ""], [0.5, ""], [0.75, ""], [1, "last"]]) {
    const tick = element("span", {className: `tick ${place}`}, clock(from + share * (to - from)));
    tick.style.left = `${100 * share}%`;
    box.append(tick);
  }
  const head = element("div", {className: "playhead", hidden: true});
  box.append(svg, head);
  box.showPlace = seconds => {
    head.hidden = seconds === null || seconds < from || seconds > to;
    head.style.left = `${x(seconds ?? 0) / 10}%`;
  };
  box.addEventListener("click", event => {
    const {left, width} = box.getBoundingClientRect();
    play(item.from, from + (to - from) * (event.clientX - left) / width, SNAP_SHARE * (to - from));
  });
  return box;
}
function wavePath(envelope) {
  const step = 1000 / envelope.length;
  const edge = sign => envelope.map((peak, i) => `${(i + 0.5) * step},${50 + sign * (0.46 * peak + 0.5)}`);
  return `M0,50L${edge(-1).join("L")}L1000,50L${edge(1).reverse().join("L")}Z`;
}
function legend(item, recording) {
  const sample = (shape, attributes) => {
    const svg = drawn("svg", {viewBox: "0 0 30 16", "aria-hidden": "true"});
    svg.append(drawn(shape, attributes));
    return svg;
  };
  const area = {x: 1, y: 1, width: 28, height: 14};
  const entry = (shape, attributes, words) => element("span", {}, sample(shape, attributes), ` ${words}`);
  return element("p", {className: "legend"},
    recording.envelope.length ? entry("path", {class: "wave", d: "M0,8L8,2L16,6L30,3L30,13L16,10L8,14Z"}, "waveform") : null,
    item.timeline.length ? entry("rect", {class: "kept", ...area}, "share of tokens kept (full height: all)") : null,
    item.timeline.some(part => part[3] !== null) ? entry("polyline", {class: "score", points: "0,12 10,4 20,9 30,2"}, "score of phase 1 (up: more similar)") : null,
    item.evidence.length ? entry("rect", {class: "span", ...area}, "evidence, 1 the best") : null,
    item.gold_span ? entry("rect", {class: "gold-span", ...area}, "gold evidence") : null,
    recording.clips.length ? entry("rect", {class: "audible", x: 0, y: 10, width: 30, height: 4}, "can be played") : null);
}

// the player: one clip at a time

function clipAt(recording, seconds, reach = 0) {
  return recording.clips.find(clip => clip.start - reach <= seconds && seconds < clip.end + reach);
}
function play(recording, seconds, reach = 0) {
  const clip = clipAt(recording, seconds) ?? clipAt(recording, seconds, reach);
  if (!clip) {
    if (byId("now")) byId("now").textContent = `no clip at ${clock(seconds)}: the lines under the timeline show where there is one`;
    return;
  }
  const go = () => { audio.currentTime = Math.max(0, Math.min(seconds, clip.end - 0.1) - clip.start); };
  if (player.clip === clip && audio.readyState) go();
  else {
    player.clip = clip;
    audio.src = clip.source;
    audio.addEventListener("loadedmetadata", go, {once: true});
  }
  start();
}
function start() {
  audio.play().catch(error => {
    if (error.name === "AbortError") return; // another clip was chosen meanwhile
    byId("now").textContent = `${player.clip.source.slice(0, 80)} can't be played (${error.message}): is the folder clips beside this page?`;
  });
}
function togglePlay() {
  if (!audio.paused) audio.pause();
  else if (player.clip) start();
  else document.querySelector(".listen button")?.click();
}
function stop() {
  audio.pause();
  player.clip = null;
}
function showPlace() {
  const seconds = player.clip ? player.clip.start + audio.currentTime : null;
  for (const box of document.querySelectorAll(".timeline")) box.showPlace(seconds);
  if (seconds !== null && byId("now") && !audio.error) byId("now").textContent = `${audio.paused ? "❚❚" : "▶"} ${clock(seconds)}`;
  cancelAnimationFrame(player.frame);
  if (!audio.paused) player.frame = requestAnimationFrame(showPlace);
}
for (const name of ["play", "pause", "seeked", "ended"]) audio.addEventListener(name, showPlace);

document.addEventListener("keydown", event => {
  const isTyping = event.target.matches("input[type=search], select");
  if (event.key === "Escape" && isTyping) event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = {j: 1, ArrowDown: 1, k: -1, ArrowUp: -1}[event.key];
  if (step) {
    const place = chosen ? shown.indexOf(chosen) + step : 0;
    if (shown[place]) choose(shown[place], {scroll: true});
  } else if (event.key === " ") togglePlay();
  else if (event.key === "/") byId("search").focus();
  else return;
  event.preventDefault();
});
