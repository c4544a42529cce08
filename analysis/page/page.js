"use strict";
// Tables sort by a click on a header, and the rows of a section filter by family, verdict, task, clock and what is
// typed. Without JavaScript they are complete, only still.
const heads = (table) => [...table.tHead.rows[0].cells];
const rowsOf = (table) => [...table.tBodies[0].rows];
const text = (row, column) => row.cells[column].textContent.trim();
const CLOCKS = { gradients: /gradient|to target/i, seconds: /second/i, memory: /memory|peak/i };

// The first number of a cell: "≥1.2 [0.9, 1.4]" is 1.2, "1e-3" is 0.001, "∞" is infinite; anything else is none.
function number(value) {
  if (value.replace(/^[≥≤~-]/, "") === "∞") return value.startsWith("-") ? -Infinity : Infinity;
  const found = /^[<>≥≤~= ]*(-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)/i.exec(value);
  return found ? Number(found[1].replace(/,/g, "")) : NaN;
}

function sort(table, column, descending) {
  for (const other of heads(table)) other.removeAttribute("aria-sort");
  heads(table)[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = rowsOf(table);
  const numeric = rows.some((row) => !Number.isNaN(number(text(row, column))));
  const sign = descending ? -1 : 1;
  rows.sort((a, b) => {
    if (!numeric) return sign * text(a, column).localeCompare(text(b, column));
    const [x, y] = [number(text(a, column)), number(text(b, column))];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // what has no number comes last
    return x === y ? 0 : sign * (x < y ? -1 : 1);
  });
  table.tBodies[0].append(...rows);
}

function sortable(table) {
  heads(table).forEach((header, column) => {
    if (!header.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, column, header.getAttribute("aria-sort") === "ascending"));
    header.append(button);
  });
}

// Columns of a table that are costs, by clock.
function clocks(table) {
  const names = heads(table).map((header) => header.textContent);
  const found = Object.entries(CLOCKS).map(([clock, pattern]) => [clock, names.flatMap((n, i) => (pattern.test(n) ? [i] : []))]);
  return found.filter(([, columns]) => columns.length);
}

// Only the costs of one clock stay, and order the rows; without one, all costs and the order of old.
function onClock(table, order, clock) {
  const found = clocks(table);
  if (found.length < 2) return;
  for (const [name, columns] of found)
    for (const row of [table.tHead.rows[0], ...rowsOf(table)])
      for (const column of columns) row.cells[column].hidden = clock !== "" && clock !== name;
  const chosen = found.find(([name]) => name === clock);
  if (chosen) return sort(table, chosen[1][0], false);
  for (const header of heads(table)) header.removeAttribute("aria-sort");
  table.tBodies[0].append(...order);
}

function choice(bar, label, options, act) {
  if (options.length < 2) return () => "";
  const [around, select] = [document.createElement("label"), document.createElement("select")];
  select.append(...["", ...options].map((option) => new Option(option || "all", option)));
  select.addEventListener("change", act);
  around.append(label + " ", select);
  bar.append(around);
  return () => select.value;
}

const distinct = (values) => [...new Set(values)].filter(Boolean).sort();

const isTasks = (section) => section.querySelector("h2, h3").textContent === "Per task";

// A section of sections has a bar in each of these.
function filters(section) {
  const inner = [...section.querySelectorAll(":scope > .part")];
  if (inner.some((part) => part.querySelector(".part"))) return inner.forEach(filters);
  const tables = [...section.querySelectorAll("table")].filter((table) => heads(table).every((h) => h.textContent.trim()));
  const rows = tables.flatMap(rowsOf);
  if (rows.length < 5) return;
  const parts = [...section.querySelectorAll(":scope > .part")];
  const name = (part) => part.querySelector("h3, h4").textContent;
  const orders = new Map(tables.map((table) => [table, rowsOf(table)]));
  const verdict = (row) => row.querySelector(".supported, .refuted, .undecided")?.textContent ?? "";
  const bar = document.createElement("div");
  bar.className = "filters";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Filter the tables of this section");
  const family = choice(bar, "family", distinct(rows.map((row) => row.dataset.family)), show);
  const word = choice(bar, "verdict", distinct(rows.map(verdict)), show);
  const isClaims = section.querySelector(".claims") !== null; // whose parts are the families
  const task = choice(bar, isTasks(section) ? "task" : "part", isClaims ? [] : parts.map(name), show);
  const timed = distinct(tables.flatMap((table) => (clocks(table).length > 1 ? clocks(table).map(([clock]) => clock) : [])));
  const clock = choice(bar, "clock", timed, () => tables.forEach((table) => onClock(table, orders.get(table), clock())));
  const [around, field, count] = ["label", "input", "output"].map((tag) => document.createElement(tag));
  field.type = "search";
  around.append("contains ", field);
  field.addEventListener("input", show);
  bar.append(around, count);
  function show() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const part of parts) part.hidden = task() !== "" && name(part) !== task();
    for (const row of rows) {
      const found = row.textContent.toLowerCase();
      const fits = (!family() || !row.dataset.family || row.dataset.family === family()) && (!word() || verdict(row) === word());
      row.hidden = !fits || !words.every((one) => found.includes(one));
    }
    if (isClaims) for (const part of parts) part.hidden = rowsOf(part.querySelector("table")).every((row) => row.hidden);
    const seen = rows.filter((row) => !row.hidden && !row.closest("[hidden]")).length;
    count.textContent = seen === rows.length ? "" : `${seen} of ${rows.length} rows`;
  }
  (parts.includes(tables[0].closest(".part")) ? parts[0] : tables[0].closest(".table")).before(bar);
}

// What scrolls sideways can be reached with the keyboard; what does not needs no stop.
function reachable() {
  for (const box of document.querySelectorAll(".scroll, .wide")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// The list of sections says where the reader is.
function follow() {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watch = () => {
    const passed = [...links.keys()].filter((id) => document.getElementById(id)?.getBoundingClientRect().top < 120);
    for (const [id, link] of links) {
      if (id === passed.at(-1)) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", watch, { passive: true });
  watch();
}

document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll("main > section").forEach(filters);
follow();
reachable();
addEventListener("resize", reachable);
