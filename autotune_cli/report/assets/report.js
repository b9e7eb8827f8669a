// Draws the figures, and filters them and the tables. All texts are read from the page; none becomes markup.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within) => [...(within || document).querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // --- figures ---------------------------------------------------------------------------------------------------

  // "ast": expressions are interpreted, as the page's policy forbids to compile them.
  // "logLevel" 1: errors alone; where a filter leaves nothing to draw, Vega warns of it.
  const options = {
    ast: true, actions: false, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true }, logLevel: 1,
  };
  // By the place on the page: the view, and the rows that are filtered (null: the figure is of one workload).
  const views = new Map();
  let wanted = null;
  let drawing = Promise.resolve();

  // One task after another, so that the page stays responsive; one that fails leaves the others alone, and the tables.
  function later(task) {
    drawing = drawing.then(task).catch((error) => console.error(error));
  }

  const isWanted = (row) => wanted === null || wanted.has(row.w);

  // Some figures grow with their rows.
  const heightOf = (spec, rows) => spec.usermeta ? spec.usermeta.step * Math.max(1, new Set(rows.map((row) => row.name)).size) : spec.height;

  async function embed(place, spec, rows, filtered) {
    const shown = { ...spec, data: { name: "rows", values: rows }, height: heightOf(spec, rows) };
    const { view } = await vegaEmbed(place, shown, options);
    const picture = place.querySelector("svg");
    if (picture) picture.setAttribute("aria-label", spec.description);
    views.set(place, { view, spec, filtered });
  }

  // A figure is drawn when it is first seen.
  function draw(place) {
    const spec = data.figures[place.dataset.figure];
    if (!spec || views.has(place)) return;
    views.set(place, null);
    later(() => embed(place, spec, spec.data.values.filter(isWanted), true));
  }

  let waiting = false;
  function redraw() {
    // Who types fast gets the last word drawn.
    if (waiting) return;
    waiting = true;
    later(async () => {
      waiting = false;
      for (const drawn of views.values()) {
        if (!drawn || !drawn.filtered) continue;
        const rows = drawn.spec.data.values.filter(isWanted);
        await drawn.view.data("rows", rows).height(heightOf(drawn.spec, rows)).resize().runAsync();
      }
    });
  }

  // Paper is narrower than most windows: figures are laid out anew, so that their texts keep their size.
  const PAPER = 660;
  window.addEventListener("beforeprint", () => {
    for (const [place, drawn] of views) if (drawn && place.clientWidth > PAPER) drawn.view.width(PAPER).run();
  });
  window.addEventListener("afterprint", () => remeasure());

  const drawVisible = () => all("[data-figure]").filter((place) => !place.closest("[hidden]")).forEach(draw);

  for (const choice of all("fieldset.choose input")) {
    choice.addEventListener("change", () => {
      for (const other of all("input", choice.closest("fieldset"))) byId(other.value).hidden = !other.checked;
      drawVisible();
      remeasure();
    });
  }

  // Figures ask the window how wide they may be, and one that was hidden then was told nothing.
  const remeasure = () => window.dispatchEvent(new Event("resize"));

  // --- the rounds of a workload ------------------------------------------------------------------------------------

  function drawHistory(figure) {
    const history = data.rounds[figure.dataset.workload];
    const every = figure.querySelector(".every");
    const raced = history.series.filter((each) => each.status === "ok");
    const chosen = every.checked || !raced.length ? history.series : raced;
    const times = chosen.flatMap((each) =>
      each.us.map((us, index) => ({ label: each.label, round: history.rounds[index], us })).filter((row) => row.us !== null));
    const specs = history.clocks ? data.history["with clock"] : data.history.without;
    const first = history.rounds[0], last = history.rounds[history.rounds.length - 1];
    const rows = [times];
    if (history.clocks) {
      rows.push(history.clocks.map((clock, index) => clock && {
        round: history.rounds[index], mhz: clock[0], why: clock[1], state: clock[2] ? "dropped" : clock[1] ? "throttled" : "as usual",
      }).filter(Boolean));
    }
    later(async () => {
      for (const [index, place] of all(".plot", figure).slice(0, specs.length).entries()) {
        const spec = structuredClone(specs[index]);
        spec.encoding.x.scale.domain = [first, last];
        if (index === 0) {
          // Equal domains make one legend of colour and shape.
          const labels = chosen.map((each) => each.label);
          spec.encoding.color.scale.domain = labels;
          spec.layer[1].encoding.shape.scale.domain = labels;
        }
        await embed(place, spec, rows[index], false);
      }
      figure.dataset.drawn = "yes";
    });
  }

  for (const part of all("details.workload")) {
    const figure = part.querySelector("figure.history");
    if (!figure) continue;
    part.addEventListener("toggle", () => {
      if (part.open && !figure.dataset.drawn) {
        figure.dataset.drawn = "soon";
        drawHistory(figure);
      } else if (part.open) remeasure();
    });
    figure.querySelector(".every").addEventListener("change", () => drawHistory(figure));
  }
  for (const button of all(".open-all, .close-all")) {
    button.addEventListener("click", () => {
      for (const part of all("details.workload", byId(button.dataset.of))) {
        if (!part.hidden) part.open = button.classList.contains("open-all");
      }
    });
  }

  // A link into a workload opens it.
  function openTarget() {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", openTarget);

  // --- the filter ------------------------------------------------------------------------------------------------

  const form = byId("filter");
  const textOf = new Map();
  function text(element) {
    if (!textOf.has(element)) textOf.set(element, element.textContent.toLowerCase());
    return textOf.get(element);
  }
  const parts = all("details.workload").map((element) => ({
    element,
    name: element.querySelector("h4").textContent.toLowerCase(),
    statuses: element.dataset.statuses.split("|"),
    candidates: all("tr.candidate", element),
  }));

  function apply() {
    const operation = byId("operation").value;
    const [kind, ...rest] = byId("status").value.split(":");
    const value = rest.join(":");
    const status = kind === "status" ? value : "", change = kind === "change" ? value : "";
    const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (where) => words.every((word) => where.includes(word));
    const filtered = Boolean(operation || status || change || words.length);

    const visible = new Set();
    for (const part of parts) {
      const whole = has(part.name);
      let found = 0;
      for (const row of part.candidates) {
        row.hidden = Boolean(status && row.dataset.status !== status) || !(whole || has(`${part.name} ${text(row)}`));
        found += !row.hidden;
      }
      const shown = (!operation || part.element.dataset.operation === operation) && found > 0;
      part.element.hidden = !shown;
      if (shown) visible.add(part.element.id);
    }
    for (const row of all("tr[data-workload]")) row.hidden = !visible.has(row.dataset.workload);
    const failures = all("tr.failure");
    for (const row of failures) {
      row.hidden = Boolean(operation && row.dataset.operation !== operation)
        || Boolean(status && row.dataset.status !== status) || !has(text(row));
    }
    const changes = all("tr.change");
    for (const row of changes) {
      row.hidden = Boolean(operation && row.dataset.operation && row.dataset.operation !== operation)
        || Boolean(change && row.dataset.change !== change) || !has(text(row));
    }
    const ratios = data.figures["changes-figure"];
    if (ratios) {
      for (const row of ratios.data.values) {
        const fits = (!operation || row.operation === operation) && (!change || row.verdict === change)
          && has(`${row.name} ${row.verdict}`.toLowerCase());
        if (fits) visible.add(row.w);
      }
    }
    wanted = filtered ? visible : null;
    redraw();
    const count = (rows, what) => rows.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} ${what}` : "";
    byId("shown").textContent = [
      count(parts.map((part) => part.element), "workloads"), count(failures, "failures"), count(changes, "changes"),
    ].filter(Boolean).join(", ");
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));

  drawVisible();
  apply();
  openTarget();
  // For whoever drives the page: all that was asked for is drawn.
  window.reportDrawn = () => drawing;
})();
