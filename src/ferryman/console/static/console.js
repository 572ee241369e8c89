// What pages need beside htmx: theme, copying, asking before a deed, filtering a list, charts.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const kept = (() => { try { return localStorage.getItem("ferryman-theme"); } catch { return null; } })();
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  function switchTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("ferryman-theme", root.dataset.theme); } catch { /* not kept then */ }
    drawCharts();
  }

  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
    } catch {  // no clipboard over plain HTTP: the text is marked, so that a key press copies it
      getSelection().selectAllChildren(source);
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = before; }, 1600);
  }

  function ask(form) {
    const dialog = document.getElementById("ask");
    dialog.querySelector("h2").textContent = form.dataset.confirm;
    dialog.querySelector("p").textContent = form.dataset.consequence || "";
    const button = dialog.querySelector("[value=yes]");
    button.textContent = form.dataset.deed || "Do it";
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") { form.dataset.asked = "yes"; form.requestSubmit(); }
    };
    dialog.returnValue = "";
    dialog.showModal();
  }

  function filterRows(input) {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of document.querySelectorAll(`#${input.dataset.filter} tbody tr`)) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    const told = document.getElementById(`${input.dataset.filter}-found`);
    if (told) told.textContent = words.length ? `${shown} shown` : "";
  }

  // Charts: stacked bars by day, from `data-chart`: {days: [Unix time], series: [{name, values: [dollars]}]}.
  const color = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const dollars = (value) => "$" + (value >= 1000 || value === 0 ? value.toLocaleString("en", { maximumFractionDigits: 0 })
    : value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: value < 0.1 ? 4 : 2 }));
  const day = (seconds, more) => new Date(seconds * 1000).toLocaleDateString("en", { timeZone: "UTC", day: "numeric", month: "short", ...more });
  const charts = new Map();

  function tip(host, told) {
    const box = document.createElement("div");
    box.className = "tip";
    box.hidden = true;
    host.append(box);
    return (u) => {
      const index = u.cursor.idx;
      const total = index == null ? 0 : told.series.reduce((sum, one) => sum + one.values[index], 0);
      box.hidden = index == null || u.cursor.left < 0;
      if (box.hidden) return;
      box.replaceChildren();
      const add = (name, value, place) => {
        const line = document.createElement("div");
        const label = document.createElement("span");
        if (place) { const mark = document.createElement("i"); mark.className = `swatch c${place}`; label.append(mark); }
        label.append(name);
        const amount = document.createElement("span");
        amount.textContent = value;
        line.append(label, amount);
        box.append(line);
      };
      add(day(told.days[index], { weekday: "short" }), dollars(total));
      told.series.forEach((one, number) => { if (one.values[index]) add(one.name, dollars(one.values[index]), number + 1); });
      const width = box.offsetWidth;
      const left = u.cursor.left + u.bbox.left / devicePixelRatio;
      box.style.left = `${Math.max(0, Math.min(left + 12, host.clientWidth - width))}px`;
      box.style.top = "4px";
    };
  }

  function draw(host) {
    charts.get(host)?.destroy();
    host.replaceChildren();
    const told = JSON.parse(host.dataset.chart);
    const sums = told.days.map(() => 0);
    const stacked = told.series.map((one) => one.values.map((value, index) => (sums[index] += value)));
    const bars = uPlot.paths.bars({ size: [0.72, 44], radius: 0.12 });
    const axis = { stroke: color("--muted"), font: '12px "Inter", sans-serif', ticks: { show: false } };
    const move = tip(host, told);
    const chart = new uPlot({
      width: host.clientWidth,
      height: host.clientHeight,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: (u, low, high) => [low - 43200, high + 43200] }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 26, space: 62, values: (u, at) => at.map((one) => day(one)), splits: () => { const step = Math.ceil(told.days.length / Math.max(2, Math.floor(host.clientWidth / 76))); return told.days.filter((one, index) => (told.days.length - 1 - index) % step === 0); } },
        { ...axis, grid: { stroke: color("--line"), width: 1 }, size: 58, space: 40, values: (u, at) => at.map(dollars) },
      ],
      series: [{}, ...told.series.map((one, number) => { const fill = color(`--chart-${number + 1}`); return { fill, stroke: fill, width: 0, paths: bars, points: { show: false } }; }).reverse()],
      hooks: { setCursor: [move] },
    }, [told.days, ...stacked.reverse()], host);
    charts.set(host, chart);
  }

  function drawCharts(only) {
    for (const [host, chart] of charts) if (!host.isConnected) { chart.destroy(); charts.delete(host); }
    for (const host of document.querySelectorAll("[data-chart]")) {
      if (only === "changed" && charts.has(host) && host.drawn === host.dataset.chart) continue;
      host.drawn = host.dataset.chart;
      draw(host);
    }
  }

  function putOrigin() {  // where the browser has reached us is where clients can
    if (root.dataset.url === "known") return;
    for (const place of document.querySelectorAll("[data-origin]")) place.textContent = location.origin;
  }

  const seen = new Set();
  function markNew() {
    const fresh = [...document.querySelectorAll("tr[data-id]")].filter((row) => !seen.has(row.dataset.id));
    if (seen.size) fresh.forEach((row) => row.classList.add("new"));
    if (seen.size > 5000) seen.clear();
    document.querySelectorAll("tr[data-id]").forEach((row) => seen.add(row.dataset.id));
  }

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-copy], [data-theme-switch], [data-menu]");
    if (!target) return;
    if (target.dataset.copy) copy(target);
    else if ("themeSwitch" in target.dataset) switchTheme();
    else {
      const open = document.getElementById("menu").classList.toggle("open");
      target.setAttribute("aria-expanded", String(open));
    }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && form.dataset.asked !== "yes") { event.preventDefault(); ask(form); return; }
    for (const input of form.querySelectorAll("[data-drop-empty] :is(input, select)")) if (!input.value) input.disabled = true;
  });
  addEventListener("pageshow", () => document.querySelectorAll("[data-drop-empty] :disabled").forEach((one) => { one.disabled = false; }));
  document.addEventListener("input", (event) => { if (event.target.dataset.filter) filterRows(event.target); });
  document.addEventListener("change", (event) => { if ("goes" in event.target.dataset) event.target.form.requestSubmit(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); }
  });
  // A page nobody looks at asks for nothing, and what is being typed or chosen stays as it is.
  document.addEventListener("htmx:before:request", (event) => {
    if (document.hidden || document.querySelector("dialog[open]")) event.preventDefault();
  });
  document.addEventListener("htmx:before:response", (event) => {  // what stands there is better than an error
    if (event.detail.ctx.response.status >= 400) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", () => { drawCharts("changed"); putOrigin(); markNew(); });
  dark.addEventListener("change", () => drawCharts());
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawCharts, 120); });
  addEventListener("DOMContentLoaded", () => { drawCharts(); putOrigin(); markNew(); });
})();
