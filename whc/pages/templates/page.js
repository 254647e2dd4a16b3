"use strict";
(() => {
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const isTouch = matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false, plotlyServerURL: "", responsive: true, doubleClick: "reset+autosize",
    displayModeBar: false,
  };
  let data = null, chosen = null;

  function template() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true,
    };
    const hover = { bgcolor: colour("--raised"), bordercolor: colour("--line"), font: { color: colour("--ink") } };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
        font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 13 },
        hoverlabel: { ...hover, align: "left" }, legend: { bgcolor: "rgba(0,0,0,0)" },
        annotationdefaults: { bgcolor: colour("--paper"), font: { color: colour("--ink") } },
      },
    };
  }

  function layoutOf(spec) {
    const margin = { l: 10, r: 10, t: 10, b: 10, ...spec.margin };
    return { autosize: true, dragmode: isTouch ? false : "zoom", ...spec, margin, template: template() };
  }

  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (character) => character.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  async function load() {
    data = JSON.parse(await unpacked("page-data"));
    const script = document.createElement("script");
    script.textContent = await unpacked("library");
    document.head.append(script);
  }

  function draw(place) {
    const figure = data.figures[place.id];
    Plotly.newPlot(place, figure.data, layoutOf(figure.layout), config);
    place.on("plotly_click", (event) => {
      const trial = event.points.map((point) => point.customdata).find((id) => data.curves[id]);
      if (trial) choose(trial);
    });
    if (chosen) mark(place);
  }

  // The chosen trial is the last trace of the figures that have a place for it.
  function mark(place) {
    const traces = data.figures[place.id].data;
    if (!place.data || place.dataset.role !== "front") return;
    const points = traces.flatMap((trace) => (trace.customdata || []).map((id, i) => [id, trace.x[i], trace.y[i]]));
    const at = points.find(([id]) => id === chosen);
    Plotly.restyle(place, { x: [at ? [at[1]] : []], y: [at ? [at[2]] : []] }, [traces.length - 1]);
  }

  function choose(trial) {
    chosen = trial;
    const [words, points] = data.curves[trial];
    document.getElementById("curve-words").textContent = words;
    const line = {
      x: points.map((point) => point[0]), y: points.map((point) => point[1]), mode: "lines+markers",
      marker: { size: 4 }, line: { color: "#2f86d6" }, hovertemplate: "epoch %{x}: %{y}<extra></extra>",
    };
    const layout = { xaxis: { title: { text: "epoch" }, rangemode: "tozero" }, yaxis: { title: { text: data.curveTitle } } };
    Plotly.react("curve", [line], layoutOf(layout), config);
    document.querySelectorAll(".figure").forEach(mark);
    document.querySelectorAll("tr[data-trial]").forEach((row) => row.classList.toggle("chosen", row.dataset.trial === trial));
  }

  function redrawThemed() {
    document.querySelectorAll(".figure, #curve").forEach((place) => {
      if (place.data) Plotly.relayout(place, { template: template() });
    });
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const key = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.order === undefined ? cell.textContent : Number(cell.dataset.order);
    };
    const compare = (a, b) => (typeof a === "number" && typeof b === "number"
      ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
    [...table.tHead.rows[0].cells].forEach((title, column) => {
      title.querySelector("button").addEventListener("click", () => {
        const falls = title.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        title.setAttribute("aria-sort", falls ? "descending" : "ascending");
        const rows = [...body.rows];
        // What is empty stays below, whatever the direction.
        const empty = (row) => row.cells[column].textContent.trim() === "";
        rows.sort((a, b) => empty(a) - empty(b) || (falls ? -1 : 1) * compare(key(a, column), key(b, column)));
        body.append(...rows);
      });
    });
    const filter = table.closest(".scroll").previousElementSibling;
    const field = filter.querySelector("input");
    const texts = new Map([...body.rows].map((row) => [row, row.textContent.toLowerCase()]));
    const keep = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      texts.forEach((text, row) => {
        row.hidden = !words.every((word) => text.includes(word));
        count += !row.hidden;
      });
      filter.querySelector("span").textContent = `${count} of ${texts.size}`;
    };
    field.addEventListener("input", keep);
    keep();
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  if (!document.getElementById("library")) return;
  load().then(() => {
    // A figure is drawn when it comes near the window: those in closed folds have no width before.
    const nearby = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      nearby.unobserve(entry.target);
      draw(entry.target);
    }), { rootMargin: "600px" });
    document.querySelectorAll(".figure").forEach((place) => nearby.observe(place));
    document.querySelectorAll("tr[data-trial]").forEach((row) => row.addEventListener("click", () => {
      if (!data.curves[row.dataset.trial]) return;
      choose(row.dataset.trial);
      document.querySelector(".curve-panel").scrollIntoView({ block: "center", behavior: "smooth" });
    }));
    isDark.addEventListener("change", redrawThemed);
    if (data.firstCurve) choose(data.firstCurve);
    document.documentElement.dataset.ready = "true";
  });
})();
