# SPDX-License-Identifier: BSD-3-Clause
"""Style and script of a report: both go into the page, which loads nothing else."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#f6f5f8;--card:#fff;--ink:#1d1a26;--soft:#5f5a6b;
--line:#dedbe6;--accent:#6b3fa0;--tint:#efe9f8;--warn:#8a4b00;--warnbg:#fff4e0;
--bar:#8a63c2;--ghost:#c9c4d4}
@media(prefers-color-scheme:dark){:root{--bg:#16141c;--card:#211e2a;--ink:#eceaf2;
--soft:#aaa4b8;--line:#3a3547;--accent:#c3a4f0;--tint:#2f2840;--warn:#ffca80;
--warnbg:#3a2c14;--bar:#a684dc;--ghost:#4d465c}}
*{box-sizing:border-box}
[hidden]{display:none!important}
html{scroll-padding-top:3.5rem}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
overflow-wrap:anywhere}
header,main,footer{max-width:1180px;margin:0 auto;padding:0 1.25rem}
header{padding-top:2rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem}
h3{font-size:1.05rem;margin:0}
h4{font-size:.95rem;margin:1rem 0 .4rem}
p{margin:.4rem 0}
a{color:var(--accent)}
.soft{color:var(--soft)}
.small{font-size:.86rem}
nav{position:sticky;top:0;z-index:5;background:var(--bg);
border-bottom:1px solid var(--line)}
nav ul{max-width:1180px;margin:0 auto;padding:.55rem 1.25rem;list-style:none;
display:flex;gap:.2rem 1.1rem;overflow-x:auto}
nav a{text-decoration:none;white-space:nowrap;font-size:.92rem}
nav a:hover{text-decoration:underline}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:.75rem;
margin:1.25rem 0}
.tile,.card,.plot{background:var(--card);border:1px solid var(--line);
border-radius:10px}
.tile{padding:.75rem .85rem}
.tile b{display:block;font-size:1.35rem;line-height:1.2;font-weight:650;
white-space:nowrap;
font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.86rem}
.findings{list-style:none;margin:0;padding:0;display:grid;gap:.5rem}
.findings li{background:var(--warnbg);border-left:4px solid var(--warn);
border-radius:6px;padding:.55rem .8rem}
.findings b,.badge{color:var(--warn)}
.findings ul{list-style:disc;padding-left:1.2rem;margin:.3rem 0 0;display:block}
.findings ul li{background:none;border:0;padding:0}
.ok{background:var(--card);border:1px solid var(--line);border-radius:6px;
padding:.55rem .8rem}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px;
background:var(--card)}
table{overflow-wrap:normal;border-collapse:collapse;width:100%;font-size:.9rem;
font-variant-numeric:tabular-nums}
th,td{padding:.42rem .65rem;text-align:right;white-space:nowrap;
border-bottom:1px solid var(--line)}
tbody tr:last-child td,tbody tr:last-child th{border-bottom:0}
th:first-child,td:first-child{text-align:left}
.thumb{width:72px}
.thumb img{display:block;width:64px;height:64px;object-fit:cover;border-radius:6px}
td.name,th.name{text-align:left;white-space:normal;overflow-wrap:anywhere;
min-width:8.5rem;max-width:24rem}
thead td{background:var(--tint)}
thead th{white-space:normal;min-width:4.6rem;
background:var(--tint);position:sticky;top:0;font-weight:600;
vertical-align:bottom}
thead button{all:unset;cursor:pointer}
thead button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
thead button::after{content:"\\2195";opacity:.35;padding-left:.25em}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
tfoot th,tfoot td{border-top:2px solid var(--line);font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));
gap:.75rem}
.plot{padding:.7rem .9rem .4rem;margin:0}
.plot figcaption{font-size:.9rem;font-weight:600}
.plot figcaption span{display:block;font-weight:400;color:var(--soft);
font-size:.82rem}
.hist{display:block;width:100%;height:auto;margin-top:.3rem}
.hist text{font-size:10px;fill:var(--soft)}
.hist line{stroke:var(--line)}
.hist .bar{fill:var(--bar);fill-opacity:.85}
.hist .all{fill:none;stroke:var(--soft);stroke-width:1.2}
.hist .mid{stroke:var(--ink);stroke-dasharray:3 3}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.86rem;margin:.4rem 0;
padding:0;list-style:none}
.key i{display:inline-block;width:.85em;height:.85em;border-radius:2px;
margin-right:.4em;vertical-align:-.08em;border:1px solid rgba(0,0,0,.45)}
.odd{display:flex;gap:.6rem;overflow-x:auto;padding:.2rem 0 .6rem;margin:0;
list-style:none}
.odd button{all:unset;cursor:pointer;display:block;width:104px;font-size:.8rem;
line-height:1.25;text-align:center}
.odd button:focus-visible{outline:2px solid var(--accent)}
.odd img{display:block;width:104px;height:104px;border-radius:8px;
border:1px solid var(--line);margin-bottom:.2rem}
.odd span{display:block;color:var(--soft);white-space:nowrap;overflow:hidden;
text-overflow:ellipsis}
.card{margin:0 0 1.25rem;padding:1rem 1.1rem;content-visibility:auto;
contain-intrinsic-size:auto 760px}
.cols{display:grid;grid-template-columns:minmax(0,1fr) 290px;gap:1.1rem;
margin-top:.6rem}
.cols>*{min-width:0}
.view{position:relative;background:#e9e7ee;border-radius:8px;overflow:hidden;
border:1px solid var(--line)}
.view>svg{display:block;width:100%;height:auto;max-height:82vh;cursor:grab;
touch-action:pan-x pan-y}
.view.zoomed>svg{touch-action:none}
.view>svg:active{cursor:grabbing}
.view>svg:focus-visible{outline:3px solid var(--accent);outline-offset:-3px}
.view.full{position:fixed;inset:0;z-index:20;border:0;border-radius:0;
background:#000}
.view.full>svg{width:100vw;height:100vh;max-height:none}
.tools{display:flex;flex-wrap:wrap;gap:.35rem;margin:.5rem 0}
.view.full+.tools{position:fixed;z-index:21;left:.6rem;top:.6rem;margin:0}
.tools button,.more{font:inherit;font-size:.86rem;padding:.3rem .65rem;cursor:pointer;
color:var(--ink);background:var(--card);border:1px solid var(--line);
border-radius:7px;min-height:2rem}
.tools button:hover,.more:hover{border-color:var(--accent)}
.tools button[aria-pressed=true]{background:var(--accent);color:var(--card);
border-color:var(--accent)}
.bar-scale{position:absolute;left:.7rem;bottom:.6rem;color:#fff;font-size:.78rem;
text-shadow:0 0 3px #000,0 0 3px #000;pointer-events:none;
border-bottom:4px solid #fff;box-shadow:0 1px 0 #000;text-align:center}
.o{fill:none;stroke:#ffe119;stroke-width:var(--stroke,1.2px);vector-effect:non-scaling-stroke;
stroke-linejoin:round}
.spot{fill:none;stroke:#fff;stroke-width:3;vector-effect:non-scaling-stroke;
stroke-dasharray:6 4}
[data-mode=none] .o,[data-mode=nuclei] .missed{display:none}
[data-mode=compare] .found{stroke:#00e5ff}
[data-mode=compare] .false{stroke:#ff3d00}
[data-mode=compare] .missed{stroke:#ffe119}
.blank{padding:3rem 1rem;text-align:center;color:#55505f}
dl{display:grid;grid-template-columns:1fr auto;gap:.15rem .9rem;margin:0;
font-size:.9rem}
dt{color:var(--soft)}
dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
.minis{display:grid;grid-template-columns:1fr 1fr;gap:.5rem .8rem;margin-top:.8rem}
.minis figure{margin:0}
.minis figcaption{font-size:.78rem;color:var(--soft)}
details{margin-top:.8rem}
summary{cursor:pointer;color:var(--accent);font-size:.92rem}
summary:focus-visible{outline:2px solid var(--accent)}
details .scroll{max-height:26rem;overflow:auto;margin-top:.5rem}
.nuclei tbody tr{cursor:pointer}
.nuclei tbody tr:hover,.nuclei tbody tr:focus{background:var(--tint);outline:0}
.settings{width:100%}
.settings th,.settings td{overflow-wrap:anywhere;
text-align:left;white-space:normal;vertical-align:top}
.settings th{font-weight:500;color:var(--soft);width:14rem}
.settings table{font-size:1em}
footer{padding:2rem 1.25rem 3rem;color:var(--soft);font-size:.86rem}
@media(max-width:760px){.cols{grid-template-columns:minmax(0,1fr)}
header,main,footer{padding-left:.8rem;padding-right:.8rem}
nav ul{padding-left:.8rem;padding-right:.8rem}
.tiles{grid-template-columns:1fr 1fr}.tile b{font-size:1.3rem}
.plots{grid-template-columns:minmax(0,1fr)}.card{padding:.8rem}
.settings th{width:7.5rem}h1{font-size:1.4rem}}
@media print{nav,.tools,.more{display:none}.card{content-visibility:visible;
break-inside:avoid}}
"""

SCRIPT = r"""
"use strict";
const root = document.documentElement;
addEventListener("error", e => { root.dataset.error = e.message; });
const all = (query, from = document) => Array.from(from.querySelectorAll(query));

/* Tables: a click on a head sorts by its column, another one the other way. */
function value(cell) {
  if (!cell) return -Infinity;
  const given = cell.dataset.v;
  if (given === undefined) return cell.textContent.trim();
  return given === "" ? NaN : Number(given);
}
function compare(a, b) {
  if (typeof a === "string" || typeof b === "string")
    return String(a).localeCompare(String(b), undefined, {numeric: true});
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
  if (Number.isNaN(b)) return -1;
  return a - b;
}
function directed(a, b, down) {
  const order = compare(a, b);
  const gap = Number.isNaN(a) || Number.isNaN(b);
  return down && !gap ? -order : order;
}
function mark(table, index, down) {
  Array.from(table.tHead.rows[0].cells).forEach((th, i) => {
    if (i === index) th.setAttribute("aria-sort", down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  });
}
function sortRows(table, index, down) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  rows.sort((a, b) => directed(value(a.cells[index]), value(b.cells[index]), down));
  body.append(...rows);
  mark(table, index, down);
}
function goesDown(table, index) {
  const th = table.tHead.rows[0].cells[index];
  const now = th.getAttribute("aria-sort");
  return now ? now === "ascending" : th.dataset.first === "down";
}
all("table.sortable").forEach(table => {
  Array.from(table.tHead.rows[0].cells).forEach((cell, index) => {
    const button = cell.querySelector("button");
    if (button) button.addEventListener("click", () =>
      sortRows(table, index, goesDown(table, index)));
  });
});

/* Pictures: the part that is shown is the viewBox. */
class View {
  constructor(card) {
    this.card = card;
    this.box = card.querySelector(".view");
    this.svg = this.box.querySelector("svg");
    this.size = this.svg.getAttribute("viewBox").split(" ").map(Number).slice(2);
    this.part = [0, 0, ...this.size];
    this.scale = card.querySelector(".bar-scale");
    this.spot = this.svg.querySelector(".spot");
    this.pointers = new Map();
    this.listen();
    this.show();
  }
  listen() {
    const svg = this.svg, tools = this.card.querySelector(".tools");
    tools.addEventListener("click", e => {
      const button = e.target.closest("button");
      if (button) this.act(button.dataset.do);
    });
    svg.addEventListener("keydown", e => {
      const keys = {"+": "in", "=": "in", "-": "out", "0": "whole", "o": "next",
        "f": "full", "Escape": "close"};
      const ways = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
        ArrowDown: [0, 1]};
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      if (keys[e.key]) { this.act(keys[e.key]); e.preventDefault(); }
      else if (ways[e.key] && this.isZoomed()) {
        const [x, y] = ways[e.key];
        this.move(x * this.part[2] / 8, y * this.part[3] / 8);
        e.preventDefault();
      }
    });
    svg.addEventListener("wheel", e => {
      if (!e.ctrlKey && !e.metaKey && !this.box.classList.contains("full")) return;
      e.preventDefault();
      this.zoom(Math.exp(-e.deltaY / 300), ...this.place(e));
    }, {passive: false});
    svg.addEventListener("dblclick", e => this.zoom(2, ...this.place(e)));
    svg.addEventListener("pointerdown", e => {
      if (e.button) return;
      this.pointers.set(e.pointerId, e);
      if (this.isZoomed()) svg.setPointerCapture(e.pointerId);
    });
    svg.addEventListener("pointermove", e => this.drag(e));
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      svg.addEventListener(end, e => this.pointers.delete(e.pointerId));
    new ResizeObserver(() => this.show()).observe(svg);
  }
  act(what) {
    const middle = [this.part[0] + this.part[2] / 2, this.part[1] + this.part[3] / 2];
    if (what === "in") this.zoom(1.5, ...middle);
    else if (what === "out") this.zoom(1 / 1.5, ...middle);
    else if (what === "whole") { this.part = [0, 0, ...this.size]; this.show(); }
    else if (what === "full" || what === "close") this.fill(what === "full");
    else if (what === "next") {
      const modes = all("[data-mode-button]", this.card).map(b => b.dataset.do);
      const now = modes.indexOf("mode-" + this.box.dataset.mode);
      this.act(modes[(now + 1) % modes.length]);
    } else if (what && what.startsWith("mode-")) {
      this.box.dataset.mode = what.slice(5);
      all("[data-mode-button]", this.card).forEach(b =>
        b.setAttribute("aria-pressed", String(b.dataset.do === what)));
      all("[data-legend]", this.card).forEach(k => {
        k.hidden = k.dataset.legend !== what.slice(5);
      });
    }
  }
  fill(open) {
    const full = open && !this.box.classList.contains("full");
    this.box.classList.toggle("full", full);
    this.card.style.contentVisibility = full ? "visible" : "";
    document.body.style.overflow = full ? "hidden" : "";
    const button = this.card.querySelector("[data-do=full]");
    button.textContent = full ? "Close" : "Enlarge";
    this.svg.focus();
    this.show();
  }
  isZoomed() { return this.part[2] < this.size[0] * 0.999; }
  perPixel() {
    const seen = this.svg.getBoundingClientRect();
    return Math.max(this.part[2] / (seen.width || 1),
      this.part[3] / (seen.height || 1));
  }
  place(e) {
    const point = new DOMPoint(e.clientX, e.clientY)
      .matrixTransform(this.svg.getScreenCTM().inverse());
    return [point.x, point.y];
  }
  zoom(factor, x, y) {
    const least = Math.min(this.size[0], Math.max(24, this.size[0] / 60));
    const width = Math.min(this.size[0], Math.max(least, this.part[2] / factor));
    const ratio = width / this.part[2];
    this.part = [x - (x - this.part[0]) * ratio, y - (y - this.part[1]) * ratio,
      width, this.part[3] * ratio];
    this.move(0, 0);
  }
  move(x, y) {
    const p = this.part;
    p[0] = Math.min(Math.max(0, p[0] + x), this.size[0] - p[2]);
    p[1] = Math.min(Math.max(0, p[1] + y), this.size[1] - p[3]);
    this.show();
  }
  drag(e) {
    const before = this.pointers.get(e.pointerId);
    if (!before) return;
    const other = Array.from(this.pointers.values())
      .find(p => p.pointerId !== e.pointerId);
    this.pointers.set(e.pointerId, e);
    if (other) {
      const gap = p => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      this.zoom(gap(e) / Math.max(1, gap(before)), ...this.place(other));
    } else if (this.isZoomed()) {
      const step = this.perPixel();
      this.move((before.clientX - e.clientX) * step,
        (before.clientY - e.clientY) * step);
    }
  }
  go(row, column, label) {
    const width = Math.min(this.size[0], Math.max(160, this.size[0] / 5));
    const height = width * this.size[1] / this.size[0];
    this.part = [column - width / 2, row - height / 2, width, height];
    this.spot.setAttribute("cx", column + 0.5);
    this.spot.setAttribute("cy", row + 0.5);
    this.spot.setAttribute("r", width / 9);
    this.spot.removeAttribute("display");
    this.svg.dataset.at = label;
    this.move(0, 0);
  }
  show() {
    this.svg.setAttribute("viewBox", this.part.map(v => +v.toFixed(2)).join(" "));
    this.box.classList.toggle("zoomed", this.isZoomed());
    // Thin where nuclei are small on the screen, so that they are still seen.
    const stroke = Math.min(2.2, Math.max(0.8, 1.6 / this.perPixel()));
    this.svg.style.setProperty("--stroke", stroke.toFixed(2) + "px");
    const micron = Number(this.box.dataset.um);
    const step = this.perPixel() * micron;
    if (!this.scale || !Number.isFinite(step) || step <= 0) return;
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
    const length = steps.filter(s => s / step <= 130).pop() || 1;
    this.scale.style.width = length / step + "px";
    this.scale.textContent = length + " \u00b5m";
  }
}

/* Tables of nuclei are made when they are opened, from the numbers in the page. */
const FIRST = 100;
function nuclei(card, holder) {
  const data = JSON.parse(card.querySelector("script[type='application/json']")
    .textContent);
  if (data.class !== null) {
    const names = JSON.parse(document.querySelector("main").dataset.classes);
    data.values[data.class] = data.values[data.class].map(n => names[n] || n);
  }
  const order = data.values[0].map((_, i) => i);
  const table = document.createElement("table");
  table.className = "nuclei";
  const head = table.createTHead().insertRow();
  data.titles.forEach((title, index) => {
    const th = document.createElement("th"), button = document.createElement("button");
    th.scope = "col";
    button.textContent = title;
    button.type = "button";
    button.addEventListener("click", () => {
      const down = goesDown(table, index), column = data.values[index];
      const of = i => column[i] === null ? NaN : column[i];
      order.sort((a, b) => directed(of(a), of(b), down));
      mark(table, index, down);
      fill();
    });
    th.append(button);
    head.append(th);
  });
  const body = table.createTBody();
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  let limit = FIRST;
  more.addEventListener("click", () => { limit = order.length; fill(); });
  function fill() {
    body.replaceChildren(...order.slice(0, limit).map(i => {
      const row = document.createElement("tr");
      row.tabIndex = 0;
      row.dataset.go = [data.rows[i], data.columns[i], data.values[0][i]].join(" ");
      data.values.forEach(column => {
        row.insertCell().textContent = column[i] === null ? "\u2013" : column[i];
      });
      return row;
    }));
    more.hidden = limit >= order.length;
    more.textContent = "Show all " + order.length;
  }
  fill();
  holder.replaceChildren(table);
  holder.after(more);
}

const views = new Map();
all(".card").forEach(card => {
  if (card.querySelector(".view svg")) views.set(card.id, new View(card));
  const details = card.querySelector("details.rows");
  if (details) details.addEventListener("toggle", () => {
    const holder = details.querySelector(".scroll");
    if (details.open && !holder.firstElementChild) nuclei(card, holder);
  });
});
function goTo(target) {
  const [row, column, label] = target.dataset.go.split(" ").map(Number);
  const card = target.closest(".card") || document.getElementById(target.dataset.card);
  const view = views.get(card.id);
  if (!view) { card.scrollIntoView(); return; }
  view.go(row, column, label);
  view.box.scrollIntoView({block: "nearest"});
}
addEventListener("click", e => {
  const target = e.target.closest("[data-go]");
  if (target) goTo(target);
});
addEventListener("keydown", e => {
  if (e.key === "Enter" && e.target.matches("tr[data-go]")) goTo(e.target);
  if (e.key === "Escape")
    views.forEach(v => { if (v.box.classList.contains("full")) v.fill(false); });
});

/* A link may ask for an order of the images: #sort=2 or, downwards, #sort=2d */
const asked = /^#sort=(\d+)(d?)$/.exec(location.hash);
const images = document.querySelector("#images table");
if (asked && images) sortRows(images, Number(asked[1]), asked[2] === "d");
root.dataset.ready = "1";
"""
