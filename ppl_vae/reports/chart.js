"use strict";
// Values of a drawing under the pointer, or at the place that arrow keys have come to: pairs of a place across the
// drawing, in its own units, and the text that is told there.
function readable(svg, readings, cursor, told) {
  let at = -1;
  const show = (i) => {
    if (!readings.length) return;
    at = Math.max(0, Math.min(readings.length - 1, i));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, readings[at][0]);
    cursor.setAttribute("visibility", "visible");
    told.textContent = readings[at][1];
  };
  const nearest = (x) => {
    let best = 0;
    readings.forEach(([place], i) => { if (Math.abs(place - x) < Math.abs(readings[best][0] - x)) best = i; });
    return best;
  };
  const under = (event) => {
    const box = svg.getBoundingClientRect();
    show(nearest(((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width));
  };
  svg.addEventListener("pointermove", under);
  svg.addEventListener("pointerdown", under);
  svg.addEventListener("focus", () => { if (at < 0) show(readings.length - 1); });
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: readings.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(steps[event.key]);
  });
}

for (const svg of document.querySelectorAll("svg[data-read]")) {
  readable(svg, JSON.parse(svg.dataset.read), svg.querySelector(".cursor"), svg.parentElement.querySelector(".reading"));
}
