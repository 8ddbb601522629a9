"use strict";
// Quality against sparsity or size: a line and intervals a method, the dense model, the gate.
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (series) => css(`--series-${series.colour}`);

  function whiskers(series) {
    return (plot) => {
      const { ctx } = plot;
      ctx.save();
      ctx.setLineDash([]);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      series.forEach((each, place) => {
        if (!plot.series[place + 1].show) return;
        ctx.strokeStyle = colour(each);
        for (const [x, , low, high] of each.points) {
          const at = plot.valToPos(x, "x", true);
          ctx.beginPath();
          ctx.moveTo(at, plot.valToPos(low, "y", true));
          ctx.lineTo(at, plot.valToPos(high, "y", true));
          ctx.stroke();
        }
      });
      ctx.restore();
    };
  }

  function draw(place) {
    const told = JSON.parse(place.dataset.plot);
    const points = [...new Set(told.series.flatMap((each) => each.points.map((p) => p[0])))].sort((a, b) => a - b);
    const first = points[0], last = points[points.length - 1];
    const room = 0.06 * (last - first) || 0.1 * Math.abs(first) || 1;
    // From edge to edge, so that the lines of the dense model and the gate are.
    const xs = [first - room, ...points, last + room];
    const rows = told.series.map((each) => {
      const values = new Map(each.points.map((p) => [p[0], p[1]]));
      return xs.map((x) => values.get(x) ?? null);
    });
    const figures = told.series.flatMap((each) => each.points.flatMap((p) => [p[2], p[3]]));
    if (told.dense) figures.push(told.dense[1], told.dense[2]);
    if (told.gate !== null) figures.push(told.gate);
    const low = Math.min(...figures), high = Math.max(...figures), more = 0.06 * (high - low || 1);
    const ink = css("--muted"), line = css("--line"), strong = css("--ink");
    const level = (label, value, stroke, dash) => ({
      series: { label, stroke, width: 1.5, dash, points: { show: false } },
      values: xs.map(() => value),
    });
    const levels = [];
    if (told.dense) levels.push(level("dense model", told.dense[0], css("--dense"), []));
    if (told.gate !== null) levels.push(level("quality gate", told.gate, strong, [6, 4]));
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "12px system-ui, sans-serif" };
    // As many digits as tell the lines of the grid apart, and room for them.
    const ticks = (_plot, values, _axis, _space, step) => {
      let digits = 0;
      while (digits < 12 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
      return values.map((value) => value.toFixed(digits));
    };
    const width = (_plot, texts) => Math.max(64, 38 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length)));
    place.textContent = "";
    new uPlot(
      {
        legend: { live: false },
        width: place.clientWidth,
        height: Math.min(380, Math.max(260, place.clientWidth / 2.4)),
        scales: {
          x: { time: false, range: [xs[0], xs[xs.length - 1]] },
          y: { range: [low - more, high + more] },
        },
        series: [
          {},
          ...told.series.map((each) => ({
            label: each.name, stroke: colour(each), width: 2, spanGaps: true,
            points: { show: true, size: 8, fill: colour(each) },
          })),
          ...levels.map((each) => each.series),
        ],
        axes: [
          { ...axis, label: told.x, labelFont: axis.font },
          { ...axis, label: told.y, labelFont: axis.font, values: ticks, size: width },
        ],
        hooks: { draw: [whiskers(told.series)] },
      },
      [xs, ...rows, ...levels.map((each) => each.values)],
      place,
    );
  }

  const drawAll = () => document.querySelectorAll("[data-plot]").forEach(draw);
  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSettle", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawAll, 150); });
})();
