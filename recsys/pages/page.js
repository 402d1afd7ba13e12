/* Draws every figure of the page, in the colours of a light or a dark screen, and again when these change. */
(function () {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)");
  const config = { responsive: true, displayModeBar: false, scrollZoom: false, plotlyServerURL: "" };

  function coloured(layout) {
    const style = getComputedStyle(document.documentElement);
    const [ink, line, paper] = ["--ink", "--line", "--paper"].map((name) => style.getPropertyValue(name).trim());
    const made = JSON.parse(JSON.stringify(layout));
    made.font = { ...made.font, color: ink, family: style.getPropertyValue("--font").trim() };
    made.hoverlabel = { bgcolor: paper, bordercolor: line, font: { size: 13, color: ink }, namelength: -1 };
    for (const axis of ["xaxis", "yaxis"]) {
      Object.assign(made[axis], { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line });
    }
    for (const shape of made.shapes || []) shape.line.color = ink;
    return made;
  }

  function draw() {
    for (const [id, spec] of Object.entries(specs)) {
      const errors = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
      const data = spec.data.map((one) => (one.error_x ? { ...one, error_x: { ...one.error_x, color: errors } } : one));
      const layout = coloured(spec.layout);
      if (touch.matches) layout.dragmode = false; // a finger on a plot scrolls the page
      if (id === "plot-map") layout.height = Math.min(layout.height, 150 + document.getElementById(id).clientWidth);
      Plotly.react(id, data, layout, config);
    }
  }

  draw();
  dark.addEventListener("change", draw);
})();
