"use strict";
// The page's own part: decodes latents, and tells Bokeh's figures what to show. Pixels and weights come as base64.

window.explorer = (() => {
  const data = JSON.parse(document.getElementById("explored").textContent);
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const floats = text => new Float32Array(bytes(text).buffer);
  const numbers = text => (data.is_image ? Float32Array.from(bytes(text), v => v / 255) : floats(text));
  const size = data.shape.reduce((a, b) => a * b, 1);
  const x = numbers(data.x), loc = floats(data.loc), scale = floats(data.scale);
  const rebuilt = data.rebuilt && numbers(data.rebuilt), traversals = data.traversals && numbers(data.traversals);
  const constants = {};
  if (data.program) for (const [name, text] of Object.entries(data.program.constants)) constants[name] = floats(text);

  // --- the decoder ---------------------------------------------------------------------------------------------------

  const erf = v => {  // Abramowitz and Stegun 7.1.26, to 1.5e-7
    const t = 1 / (1 + 0.3275911 * Math.abs(v));
    const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return Math.sign(v) * (1 - tail * Math.exp(-v * v));
  };
  const single = {
    relu: v => Math.max(v, 0), tanh: Math.tanh, sigmoid: v => 1 / (1 + Math.exp(-v)), exp: Math.exp, log: Math.log,
    neg: v => -v, log1p: Math.log1p, expm1: Math.expm1, sqrt: Math.sqrt, rsqrt: v => 1 / Math.sqrt(v),
    reciprocal: v => 1 / v, abs: Math.abs, softplus: v => (v > 20 ? v : Math.log1p(Math.exp(v))),
    elu: v => (v > 0 ? v : Math.expm1(v)), gelu: v => 0.5 * v * (1 + erf(v / Math.SQRT2)),
    leaky_relu: v => (v > 0 ? v : 0.01 * v), sin: Math.sin, cos: Math.cos,
  };
  const several = {
    add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, gt: (a, b) => +(a > b),
    ge: (a, b) => +(a >= b), lt: (a, b) => +(a < b), le: (a, b) => +(a <= b), where: (c, a, b) => (c ? a : b),
    maximum: Math.max, minimum: Math.min,
  };

  function linear([x, weight, bias]) {  // weight: (elements of x, elements of the result)
    const out = Float32Array.from(bias), wide = out.length;
    for (let k = 0; k < x.length; k++) {
      const v = x[k];
      if (v !== 0) for (let n = 0, w = k * wide; n < wide; n++, w++) out[n] += v * weight[w];
    }
    return out;
  }

  function softmax([x], { size }) {
    const out = Float32Array.from(x);
    for (let from = 0; from < out.length; from += size) {
      const part = out.subarray(from, from + size), top = Math.max(...part);
      let sum = 0;
      for (let i = 0; i < size; i++) sum += part[i] = Math.exp(part[i] - top);
      for (let i = 0; i < size; i++) part[i] /= sum;
    }
    return out;
  }

  function convolution([x, weight, bias], step) {
    const [ins, height, width] = step.into, [outs, tall, wide] = step.out, [high, broad] = step.kernel;
    const [down, right] = step.stride, [top, left] = step.padding, [dy, dx] = step.dilation;
    const perIn = ins / step.groups, perOut = outs / step.groups, out = new Float32Array(outs * tall * wide);
    for (let o = 0; o < outs; o++) out.fill(bias[o], o * tall * wide, (o + 1) * tall * wide);
    for (let g = 0; g < step.groups; g++)
      for (let i = 0; i < perIn; i++)
        for (let o = 0; o < perOut; o++) {
          const from = step.transposed ? (g * perIn + i) * perOut + o : (g * perOut + o) * perIn + i;
          for (let ky = 0; ky < high; ky++)
            for (let kx = 0; kx < broad; kx++) {
              const w = weight[(from * high + ky) * broad + kx];
              const plane = (g * perIn + i) * height * width, target = (g * perOut + o) * tall * wide;
              if (step.transposed) {
                for (let y = 0; y < height; y++) {
                  const row = y * down - top + ky * dy;
                  if (row < 0 || row >= tall) continue;
                  for (let c = 0; c < width; c++) {
                    const column = c * right - left + kx * dx;
                    if (column >= 0 && column < wide) out[target + row * wide + column] += w * x[plane + y * width + c];
                  }
                }
              } else {
                for (let y = 0; y < tall; y++) {
                  const row = y * down - top + ky * dy;
                  if (row < 0 || row >= height) continue;
                  for (let c = 0; c < wide; c++) {
                    const column = c * right - left + kx * dx;
                    if (column >= 0 && column < width) out[target + y * wide + c] += w * x[plane + row * width + column];
                  }
                }
              }
            }
        }
    return out;
  }

  const take = ([x], { places }) => Float32Array.from(places, i => x[i]);
  const whole = { linear, softmax, convolution, take };

  function run(z) {
    const values = { ...constants, z: Float32Array.from(z) };
    for (const step of data.program.steps) {
      const of = step.of.map(name => values[name]);
      values[step.name] =
        step.does in whole ? whole[step.does](of, step)
        : step.does in single ? of[0].map(single[step.does])
        : of[0].map((_, i) => several[step.does](...of.map(part => part[i])));
    }
    return values[data.program.out];
  }

  function decode(z) {  // as it is shown
    const made = run(z), [low, high] = data.range;
    return data.is_image ? made.map(v => Math.min(1, Math.max(0, (v - low) / (high - low)))) : made;
  }

  // --- pictures ------------------------------------------------------------------------------------------------------

  const paper = [[255, 255, 255], [201, 214, 226], [95, 127, 158], [31, 59, 87], [11, 26, 41]];

  function ink(share) {
    const at = Math.min(0.9999, Math.max(0, share)) * (paper.length - 1), i = Math.floor(at);
    return paper[i].map((v, c) => v + (at - i) * (paper[i + 1][c] - v));
  }

  function draw(source, values, place = 0, count = 1) {
    if (!data.is_image) {
      for (let i = 0; i < size; i++) source.data.value[place * size + i] = values[i];
      return;
    }
    const [channels, height, width] = data.shape, image = source.data.image[0], plane = height * width;
    for (let y = 0; y < height; y++)
      for (let c = 0; c < width; c++) {
        const at = y * width + c;
        const rgb = channels === 3 ? [0, 1, 2].map(k => 255 * values[k * plane + at]) : ink(values[at]);
        const [r, g, b] = rgb.map(Math.round);
        image[(height - 1 - y) * count * width + place * width + c] = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
      }
  }

  // --- what is looked at ---------------------------------------------------------------------------------------------

  let m = null, datum = 0, second = null, z = null, directions = null;
  const set = {};  // what the page itself has set: Bokeh calls back later, and no user has moved it
  const eps = new Float32Array(data.units);
  const clean = text => text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);  // what is said is markup
  const gauss = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const row = (array, i) => array.subarray(i * data.units, (i + 1) * data.units);
  const say = text => (m.said.text = text);

  function put(name, value) {
    if (m[name].value === value) return;
    set[name] = value;
    m[name].value = value;
  }

  function isOwn(name, value) {
    const own = set[name] === value;
    delete set[name];
    return own;
  }

  function place(code, axis) {  // a code on an axis of the map
    const unit = data.shown.find(u => axis === `${data.site}[${u}]`);
    if (unit !== undefined) return code[unit];
    const [direction, middle] = directions[axis];
    return code.reduce((sum, v, k) => sum + (v - middle[k]) * direction[k], 0);
  }

  function principal() {  // the components of the map, from its points: least squares on the means
    const n = data.n, middle = new Float64Array(data.units);
    for (let i = 0; i < n; i++) row(loc, i).forEach((v, k) => (middle[k] += v / n));
    const found = {};
    for (const axis of ["component 1", "component 2"]) {
      const values = m.points.data[axis];
      if (!values) continue;
      const direction = new Float64Array(data.units);
      let square = 0;
      for (let i = 0; i < n; i++) {
        square += values[i] * values[i];
        row(loc, i).forEach((v, k) => (direction[k] += values[i] * (v - middle[k])));
      }
      found[axis] = [direction.map(v => v / square), middle];
    }
    return found;
  }

  function mark() {
    const on = codes => ({ across: codes.map(c => place(c, m.across.value)), up: codes.map(c => place(c, m.up.value)) });
    m.here.data = on([Array.from(z)]);
    const mean = row(loc, datum), spread = row(scale, datum), ring = [];
    const lengths = [m.across.value, m.up.value].map(axis => {
      const unit = data.shown.find(u => axis === `${data.site}[${u}]`);
      if (unit !== undefined) return [unit, null];
      return [null, directions[axis][0]];
    });
    // Two standard deviations of q, independent units, as they fall on the two axes of the map.
    const along = lengths.map(([unit, direction]) => Array.from(spread, (s, k) => (direction ? direction[k] : +(k === unit)) * s));
    const cov = (a, b) => a.reduce((sum, v, k) => sum + v * b[k], 0);
    const [a, b, c] = [cov(along[0], along[0]), cov(along[0], along[1]), cov(along[1], along[1])];
    const l = Math.sqrt(Math.max(a, 1e-12)), low = b / l, rest = Math.sqrt(Math.max(c - low * low, 0));
    const centre = [place(mean, m.across.value), place(mean, m.up.value)];
    for (let i = 0; i <= 60; i++) {
      const [s, t] = [Math.cos(i * Math.PI / 30), Math.sin(i * Math.PI / 30)];
      ring.push([centre[0] + 2 * l * s, centre[1] + 2 * (low * s + rest * t)]);
    }
    m.ellipse.data = { across: ring.map(p => p[0]), up: ring.map(p => p[1]) };
    const chain = data.chains[datum] ? floats(data.chains[datum]) : new Float32Array(0), draws = [];
    for (let i = 0; i < chain.length; i += data.units) draws.push(Array.from(chain.subarray(i, i + data.units)));
    m.chain.data = on(draws);
  }

  function show(values) {
    draw(m.made_source, values);
    m.made_source.change.emit();
  }

  function at(code) {  // decode here, and move the sliders
    z = Float32Array.from(code);
    data.shown.forEach((unit, k) => {
      const { start, end } = m[`unit_${k}`];
      put(`unit_${k}`, Math.min(end, Math.max(start, z[unit])));
    });
    if (data.program) show(decode(z));
    else show(rebuilt.subarray(datum * size, (datum + 1) * size));
    mark();
  }

  function look(i) {
    datum = i;
    const told = Object.entries(data.numbers).map(([name, v]) => `${name} <b>${v[i] === null ? "–" : v[i].toFixed(2)}</b>`);
    const label = data.labels.length ? `, class <b>${clean(data.labels[i])}</b>` : "";
    const hmc = data.chains[i] ? "; crosses: draws of p(z | x) by HMC" : "";
    m.about.text = `<h2>Datum ${clean(data.rows[i])}${label}</h2><p>${told.join(", ")} (nats)</p>` +
      `<p class="muted">On the map: two standard deviations of q(${clean(data.site)} | x)${hmc}; ★ what is decoded.</p>`;
    draw(m.datum_source, x.subarray(i * size, (i + 1) * size));
    const mean = Array.from(row(loc, i)), spread = row(scale, i);
    draw(m.mean_source, data.program ? decode(mean) : rebuilt.subarray(i * size, (i + 1) * size));
    for (let d = 0; d < data.draws; d++) {
      const code = mean.map((v, k) => v + spread[k] * gauss());
      draw(m.draws_source, data.program ? decode(code) : rebuilt.subarray(i * size, (i + 1) * size), d, data.draws);
    }
    for (const name of ["datum_source", "mean_source", "draws_source"]) m[name].change.emit();
    at(mean);
    put("noise", 0);
    put("way", 0);
    say(second === null ? "" : `The other one is datum ${clean(data.rows[second])}.`);
  }

  const needsDecoder = () => {
    if (data.program) return false;
    say("The page has no decoder, and shows what was decoded ahead: one unit at a time.");
    return true;
  };

  const api = {
    decode: z => Array.from(run(z)),  // for tests
    start(page) {
      m = new Proxy({}, { get: (_, name) => page.get_model_by_name(name) });
      directions = principal();
      api.another();
      look(0);
      document.addEventListener("keydown", event => {
        if (event.target.closest && event.target.closest("input, select, textarea, button, .noUi-handle")) return;
        if (event.key === "n") look((datum + 1) % data.n);
        if (event.key === "p") look((datum + data.n - 1) % data.n);
      });
      document.documentElement.dataset.ready = "true";
    },
    selected(indices) {
      if (indices.length === 1) look(indices[0]);
      else if (indices.length > 1) {
        const mean = name => {
          const values = indices.map(i => data.numbers[name][i]).filter(v => v !== null);
          return `${name} ${(values.reduce((a, b) => a + b, 0) / values.length).toFixed(2)}`;
        };
        const kinds = {};
        if (data.labels.length) for (const i of indices) kinds[data.labels[i]] = (kinds[data.labels[i]] || 0) + 1;
        const told = Object.entries(kinds).sort((a, b) => b[1] - a[1]).map(([k, c]) => `${clean(k)}: ${c}`);
        m.about.text = `<h2>${indices.length} data</h2><p>means: ${Object.keys(data.numbers).map(mean).join(", ")} (nats)</p>` +
          (told.length ? `<p>classes: ${told.join(", ")}</p>` : "") + `<p class="muted">Below: their mean code, decoded.</p>`;
        const middle = Array.from({ length: data.units }, (_, k) => indices.reduce((s, i) => s + loc[i * data.units + k], 0) / indices.length);
        if (data.program) {
          z = Float32Array.from(middle);
          at(middle);
        }
      }
    },
    axes() {
      const tint = m.tint.value, points = m.points;
      points.data.across = points.data[m.across.value];
      points.data.up = points.data[m.up.value];
      points.data.colour = points.data[`colour by ${tint}`];
      points.change.emit();
      m.plane.below[0].axis_label = m.across.value;
      m.plane.left[0].axis_label = m.up.value;
      m.legend.text = JSON.parse(m.legends.text)[tint];
      m.plane.reset.emit();
      mark();
    },
    moved(k, value) {
      if (isOwn(`unit_${k}`, value)) return;
      const unit = data.shown[k];
      z[unit] = value;
      if (data.program) show(decode(z));
      else {
        const levels = data.quantiles[unit];
        let near = 0;
        levels.forEach((v, i) => { if (Math.abs(v - value) < Math.abs(levels[near] - value)) near = i; });
        const from = (k * levels.length + near) * size;
        show(traversals.subarray(from, from + size));
        needsDecoder();
      }
      mark();
    },
    noise(t, asked = false) {
      if ((!asked && isOwn("noise", t)) || needsDecoder()) return;
      const mean = row(loc, datum), spread = row(scale, datum);
      at(mean.map((v, k) => v + spread[k] * t * eps[k]));
      say(`z = μ(x) + σ(x) · ${t.toFixed(2)} ε: the noise comes from outside, so that z moves smoothly with μ and σ.`);
    },
    another() {
      for (let k = 0; k < eps.length; k++) eps[k] = gauss();
      if (z) api.noise(m.noise.value, true);
    },
    between(t) {
      if (isOwn("way", t) || needsDecoder()) return;
      if (second === null) return say("First take a datum as the other one, then look at another.");
      const one = row(loc, datum), other = row(loc, second);
      at(one.map((v, k) => (1 - t) * v + t * other[k]));
    },
    other() {
      second = datum;
      say(`The other one is datum ${clean(data.rows[second])}: look at another datum, and move the slider.`);
    },
    back: () => look(datum),
  };
  return api;
})();
