"use strict";
// The slices of one case. Voxels come by column, row and slice; planes are named by the axis they are stacked along.
(async () => {
  const stage = document.getElementById("stage");
  document.addEventListener("keydown", (event) => { // from case to case, with pictures or without
    const relation = { n: "next", b: "prev", i: "index" }[event.key];
    const link = relation && !typing(event) && document.querySelector(`link[rel="${relation}"]`);
    if (link) location.href = link.href;
  });
  if (!stage || !("DecompressionStream" in window)) return; // an old browser keeps the pictures that stand still

  const about = JSON.parse(document.getElementById("about").textContent);
  const [image, prediction, truth] = await Promise.all(["image", "prediction", "truth"].map(unpack));
  const { shape, spacing, table, planes } = about;
  const structures = about.structures.map((structure, k) => ({ ...structure, number: k + 1, shown: true }));
  const IGNORED = 255, EXTRA = 1, MISSED = 2, OTHER = 3;
  const DIFFERENT = [, ["#ff4538", "/"], ["#ffffff", "\\"], ["#c79bff", "x"]];
  const HATCHES = ["/", "\\", "-", "|", "x", "."];
  const OPPOSITE = { L: "R", P: "A", I: "S" };
  const first = { plane: planes[0], at: [...about.at], low: about.window[0], high: about.window[1] };
  const state = { ...first, at: [...first.at], prediction: !!prediction, truth: !!truth, disagreement: false, fill: false, cross: true };
  const span = table[table.length - 1] - table[0] || 1;
  const grey = new Uint8Array(table.length);
  const views = [];
  let bars = null;

  function typing(event) {
    return event.ctrlKey || event.metaKey || event.altKey || /^(search|text|range)$/.test(event.target.type || "");
  }

  async function unpack(id) {
    const node = document.getElementById(id);
    if (!node) return null;
    const bytes = Uint8Array.from(atob(node.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const voxels = new Uint8Array(await new Response(stream).arrayBuffer());
    for (let k = 1; k < voxels.length; k++) voxels[k] += voxels[k - 1];
    return voxels;
  }

  const across = (axis) => [0, 1, 2].filter((other) => other !== axis);
  const steps = [1, shape[0], shape[0] * shape[1]];
  const place = (at) => at[0] + steps[1] * at[1] + steps[2] * at[2];

  // One plane's voxels, row by row.
  function cut(voxels, axis, at) {
    const [u, v] = across(axis), found = new Uint8Array(shape[u] * shape[v]);
    for (let row = 0, k = 0; row < shape[v]; row++) {
      for (let from = at * steps[axis] + row * steps[v], column = 0; column < shape[u]; column++, k++) found[k] = voxels[from + column * steps[u]];
    }
    return found;
  }

  const shownOnly = (slice) => slice.map((number) => number && number !== IGNORED && structures[number - 1].shown ? number : 0);

  function differences(made, true_) {
    return made.map((number, k) =>
      number === true_[k] || true_[k] === IGNORED ? 0 : !true_[k] ? EXTRA : !number ? MISSED : OTHER);
  }

  // The outlines of every number in a slice: closed lines through the middles of the voxels' edges.
  function outlines(slice, width, height) {
    const edges = new Map(), row = width + 1;
    const is = (x, y, number) => x >= 0 && y >= 0 && x < width && y < height && slice[y * width + x] === number;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const number = slice[y * width + x];
        if (!number) continue;
        if (!edges.has(number)) edges.set(number, new Map());
        const from = edges.get(number), corner = y * row + x;
        const add = (a, b) => from.has(a) ? from.get(a).push(b) : from.set(a, [b]);
        if (!is(x, y - 1, number)) add(corner, corner + 1);
        if (!is(x + 1, y, number)) add(corner + 1, corner + row + 1);
        if (!is(x, y + 1, number)) add(corner + row + 1, corner + row);
        if (!is(x - 1, y, number)) add(corner + row, corner);
      }
    }
    const point = (corner) => [corner % row, Math.floor(corner / row)];
    const found = new Map();
    for (const [number, from] of edges) {
      const loops = [];
      for (const start of from.keys()) {
        while (from.get(start).length) {
          const loop = [];
          for (let corner = start; from.get(corner).length;) {
            const next = from.get(corner).pop(), [a, b] = point(corner), [c, d] = point(next);
            loop.push([(a + c) / 2, (b + d) / 2]);
            corner = next;
          }
          loops.push(loop);
        }
      }
      found.set(number, loops);
    }
    return found;
  }

  function path(loops, scale) {
    const drawn = new Path2D();
    for (const loop of loops) {
      const points = loop.map(([x, y]) => [x * scale[0], y * scale[1]]);
      const middle = (k) => points[k].map((x, axis) => (x + points[(k + 1) % points.length][axis]) / 2);
      drawn.moveTo(...middle(points.length - 1));
      points.forEach((point, k) => drawn.quadraticCurveTo(...point, ...middle(k))); // corners a little rounded
      drawn.closePath();
    }
    return drawn;
  }

  function hatch(context, colour, way, unit) {
    const tile = document.createElement("canvas"), side = Math.round(8 * unit);
    tile.width = tile.height = side;
    const pen = tile.getContext("2d");
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 1.5 * unit;
    const line = (a, b, c, d) => { pen.beginPath(); pen.moveTo(a, b); pen.lineTo(c, d); pen.stroke(); };
    if (way === "/" || way === "x") for (const k of [-side, 0, side]) line(k, side, k + side, 0);
    if (way === "\\" || way === "x") for (const k of [-side, 0, side]) line(k, 0, k + side, side);
    if (way === "-") line(0, side / 2, side, side / 2);
    if (way === "|") line(side / 2, 0, side / 2, side);
    if (way === ".") pen.fillRect(side / 3, side / 3, side / 3, side / 3);
    return context.createPattern(tile, "repeat");
  }

  function draw(view) {
    const { axis, canvas } = view, [u, v] = across(axis), unit = window.devicePixelRatio || 1;
    const extent = [shape[u] * spacing[u], shape[v] * spacing[v]];
    const room = canvas.parentElement.clientWidth, tall = Math.max(160, window.innerHeight * (axis === state.plane ? 0.72 : 0.34));
    const zoom = Math.min(room / extent[0], tall / extent[1]);
    const size = extent.map((mm) => Math.max(1, Math.round(mm * zoom)));
    canvas.style.width = `${size[0]}px`;
    canvas.style.height = `${size[1]}px`;
    [canvas.width, canvas.height] = size.map((pixels) => Math.round(pixels * unit));
    const context = canvas.getContext("2d"), at = state.at[axis], [width, height] = [shape[u], shape[v]];
    const scale = [canvas.width / width, canvas.height / height];

    const small = new OffscreenCanvas(width, height), data = new ImageData(width, height);
    const pixels = new Uint32Array(data.data.buffer);
    cut(image, axis, at).forEach((level, k) => { pixels[k] = 0xff000000 | (grey[level] * 0x010101); });
    small.getContext("2d").putImageData(data, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);

    const made = prediction && cut(prediction, axis, at), real = truth && cut(truth, axis, at);
    if (state.prediction && made) overlay(context, shownOnly(made), width, scale, unit, false);
    if (state.truth && real) overlay(context, shownOnly(real), width, scale, unit, true);
    if (state.disagreement && made && real) {
      for (const [kind, loops] of outlines(differences(made, real), width, height)) {
        const [colour, way] = DIFFERENT[kind], area = path(loops, scale);
        context.fillStyle = hatch(context, colour, way, unit);
        context.fill(area, "evenodd");
        context.strokeStyle = colour;
        context.lineWidth = unit;
        context.stroke(area);
      }
    }
    if (state.cross) cross(context, [(state.at[u] + 0.5) * scale[0], (state.at[v] + 0.5) * scale[1]], unit);
    sides(context, u, v, unit);
  }

  function overlay(context, slice, width, scale, unit, dashed) {
    for (const [number, loops] of outlines(slice, width, slice.length / width)) {
      const { colour } = structures[number - 1], area = path(loops, scale);
      if (state.fill && !dashed) {
        context.globalAlpha = 0.3;
        context.fillStyle = colour;
        context.fill(area, "evenodd");
        context.globalAlpha = 0.8;
        context.fillStyle = hatch(context, colour, HATCHES[(number - 1) % HATCHES.length], unit);
        context.fill(area, "evenodd");
        context.globalAlpha = 1;
      }
      context.setLineDash(dashed ? [5 * unit, 4 * unit] : []);
      context.lineWidth = (dashed ? 1.6 : 2.4) * unit;
      context.strokeStyle = dashed ? "#fff" : colour;
      context.stroke(area);
      context.setLineDash([]);
      if (!dashed || !state.prediction) tag(context, number, slice, width, scale, unit);
    }
  }

  // A structure's number in the middle of its longest row.
  function tag(context, number, slice, width, scale, unit) {
    let best = 0, where = [0, 0];
    for (let k = 0, run = 0; k < slice.length; k++) {
      run = slice[k] === number && (run === 0 || k % width) ? run + 1 : slice[k] === number ? 1 : 0;
      if (run > best) [best, where] = [run, [k % width - (run - 1) / 2, Math.floor(k / width)]];
    }
    if (best * scale[0] > 14 * unit) write(context, String(number), (where[0] + 0.5) * scale[0], (where[1] + 0.5) * scale[1], unit);
  }

  function write(context, text, x, y, unit) {
    context.font = `600 ${12 * unit}px system-ui, sans-serif`;
    [context.textAlign, context.textBaseline, context.lineJoin] = ["center", "middle", "round"];
    context.lineWidth = 3 * unit;
    context.strokeStyle = "#000";
    context.strokeText(text, x, y);
    context.fillStyle = "#fff";
    context.fillText(text, x, y);
  }

  function cross(context, [x, y], unit) {
    const { width, height } = context.canvas, gap = 7 * unit;
    context.strokeStyle = "#ffffff90";
    context.lineWidth = unit;
    context.beginPath();
    for (const [a, b, c, d] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(a, b);
      context.lineTo(c, d);
    }
    context.stroke();
  }

  function sides(context, u, v, unit) {
    if (!about.sides.length) return;
    const { width, height } = context.canvas, [right, low] = [about.sides[u], about.sides[v]], edge = 10 * unit;
    write(context, OPPOSITE[right], edge, height / 2, unit);
    write(context, right, width - edge, height / 2, unit);
    const aside = height < 8 * edge ? 3 * edge : width / 2; // in a low panel not over the middle of the picture
    write(context, OPPOSITE[low], aside, edge, unit);
    write(context, low, aside, height - edge, unit);
  }

  function refresh() {
    for (let k = 0; k < table.length; k++) {
      grey[k] = Math.max(0, Math.min(255, 255 * (table[k] - state.low) / (state.high - state.low)));
    }
    for (const view of views) {
      view.box.classList.toggle("main", view.axis === state.plane);
      view.box.style.order = view.axis === state.plane ? 0 : 1;
    }
    views.forEach(draw);
    panel();
    Object.assign(stage.dataset, { plane: about.names[state.plane], slice: state.at[state.plane], low: state.low, high: state.high });
    for (const key of ["prediction", "truth", "disagreement", "fill"]) stage.dataset[key] = state[key];
  }

  function strip(canvas) {
    const axis = state.plane, n = shape[axis];
    if (!bars || bars.axis !== axis) {
      const counts = Array.from({ length: n }, (_, at) => {
        const made = prediction && cut(prediction, axis, at), real = truth && cut(truth, axis, at);
        return (made && real ? differences(made, real) : made || real || []).filter((number) => number && number !== IGNORED).length;
      });
      bars = { axis, counts, most: Math.max(1, ...counts) };
    }
    canvas.width = canvas.clientWidth * 2;
    canvas.height = 52;
    const context = canvas.getContext("2d"), wide = canvas.width / n;
    const { color } = getComputedStyle(canvas);
    bars.counts.forEach((count, k) => {
      const tall = count && 3 + 48 * count / bars.most;
      context.globalAlpha = k === state.at[axis] ? 1 : 0.4;
      context.fillStyle = color;
      context.fillRect(k * wide + wide * 0.1, 52 - tall, wide * 0.8, tall);
      if (k === state.at[axis]) context.fillRect(k * wide, 50, wide, 2);
    });
  }

  // The panel beside the slices; every control has a key.
  const controls = document.getElementById("controls");
  const row = (inner, key) => `<label>${inner}${key ? `<kbd>${key}</kbd>` : ""}</label>`;
  const box = (name, mark, words, key) => row(`<input type="checkbox" id="c-${name}">${mark && `<i class="${mark}"></i>`}${words}`, key);
  const range = (name, words, least, most, step) =>
    `<label><span style="flex:none;width:4.6em">${words}</span><input type="range" id="c-${name}" min="${least}" max="${most}" step="${step}" aria-label="${words}"></label>`;
  controls.innerHTML =
    `<fieldset><legend id="c-where"></legend><canvas class="strip" id="c-strip" aria-hidden="true"></canvas><input type="range" id="c-slice" min="0" step="1" aria-label="slice"></fieldset>` +
    `<fieldset><legend>Show</legend>` +
    (prediction ? box("prediction", "line", "prediction", "p") : "") + (truth ? box("truth", "line dashed", "truth", "t") : "") +
    (prediction && truth ? box("disagreement", "hatch extra", "disagreement", "d") : "") +
    (prediction ? box("fill", "", "filled", "f") : "") + box("cross", "", "crosshair", "x") +
    `</fieldset><ul class="kinds" id="c-kinds" hidden><li><i class="hatch extra"></i>too much</li><li><i class="hatch missed"></i>missed</li><li><i class="hatch other"></i>another structure</li></ul>` +
    `<fieldset><legend>Window</legend>${range("level", "level", table[0], table[table.length - 1], span / 500)}${range("width", "width", span / 500, span * 1.2, span / 500)}` +
    `<button type="button" class="action" id="c-reset" style="justify-self:start">Reset view <kbd>r</kbd></button></fieldset>` +
    `<p class="readout" id="c-readout" aria-live="polite"></p>` +
    `<details><summary>Keys and mouse</summary><dl>` +
    [["↑ ↓", "slices (also wheel, j k)"], ["1 2 3", "planes"], ["[ ]", "narrower, wider window"], ["- +", "darker, brighter"], ["n b", "next, previous case"], ["i", "all cases"], ["drag", "move the crosshair"], ["shift drag", "window and level"]]
      .map(([key, words]) => `<dt><kbd>${key}</kbd></dt><dd>${words}</dd>`).join("") + `</dl></details>`;
  controls.hidden = false;
  document.querySelector(".still-note").hidden = true;
  document.getElementById("c-kinds").after(document.getElementById("legend"));
  const control = (name) => document.getElementById(`c-${name}`);

  function panel() {
    const axis = state.plane, slider = control("slice");
    slider.max = shape[axis] - 1;
    slider.value = state.at[axis];
    slider.hidden = shape[axis] < 2;
    control("strip").style.display = shape[axis] < 2 ? "none" : "";
    control("where").textContent = shape[axis] < 2 ? "Image" : `${about.names[axis]} slice ${state.at[axis] + 1} of ${shape[axis]}`;
    for (const name of ["prediction", "truth", "disagreement", "fill", "cross"]) if (control(name)) control(name).checked = state[name];
    control("kinds").hidden = !state.disagreement;
    control("level").value = (state.low + state.high) / 2;
    control("width").value = state.high - state.low;
    if (shape[axis] > 1) strip(control("strip"));
    const here = place(state.at), name = (voxels) => !voxels ? null : voxels[here] === IGNORED ? "ignored" : voxels[here] ? structures[voxels[here] - 1].name : "none";
    const voxel = about.index.map((line) => Math.round(line[0] * state.at[0] + line[1] * state.at[1] + line[2] * state.at[2] + line[3]));
    control("readout").replaceChildren(
      ...[["voxel", voxel.join(", ")], ["intensity", `≈ ${Number(table[image[here]].toPrecision(4))}`], ["prediction", name(prediction)], ["truth", name(truth)]]
        .filter(([, told]) => told !== null)
        .flatMap(([what, told]) => { const bold = document.createElement("b"); bold.textContent = told; return [`${what} `, bold, document.createElement("br")]; }));
  }

  const move = (axis, to) => { state.at[axis] = Math.max(0, Math.min(shape[axis] - 1, Math.round(to))); refresh(); };
  const flip = (name) => { if (control(name)) { state[name] = !state[name]; refresh(); } };
  const choose = (axis) => { if (planes.includes(axis)) { state.plane = axis; refresh(); } };

  function setWindow(level, width) {
    const wide = Math.max(span / 500, width);
    [state.low, state.high] = [level - wide / 2, level + wide / 2];
    refresh();
  }
  const turn = (shift, factor) => setWindow((state.low + state.high) / 2 + shift * span, (state.high - state.low) * factor);
  const reset = () => { Object.assign(state, first, { at: [...first.at] }); refresh(); };

  stage.replaceChildren();
  stage.classList.add("live");
  stage.classList.toggle("single", planes.length === 1);
  for (const axis of planes) {
    const holder = document.createElement("div"), canvas = document.createElement("canvas");
    holder.className = "view";
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${about.names[axis]} slice`);
    holder.append(canvas);
    if (planes.length > 1) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = about.names[axis];
      button.addEventListener("click", () => choose(axis));
      holder.append(button);
    }
    stage.append(holder);
    views.push({ axis, canvas, box: holder });
    const [u, v] = across(axis);
    let wheeled = 0;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      wheeled += event.deltaY / (event.deltaMode ? 1 : 40);
      const whole = Math.trunc(wheeled);
      wheeled -= whole;
      if (whole) move(axis, state.at[axis] + Math.sign(whole));
    }, { passive: false });
    const point = (event) => {
      if (!event.buttons) return;
      if (event.shiftKey || event.buttons === 2) return void turn(-event.movementY / 400, Math.exp(event.movementX / 200));
      const area = canvas.getBoundingClientRect();
      state.at[u] = Math.max(0, Math.min(shape[u] - 1, Math.floor((event.clientX - area.left) / area.width * shape[u])));
      move(v, Math.floor((event.clientY - area.top) / area.height * shape[v]));
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  control("slice").addEventListener("input", (event) => move(state.plane, Number(event.target.value)));
  for (const name of ["prediction", "truth", "disagreement", "fill", "cross"]) control(name)?.addEventListener("change", () => flip(name));
  for (const name of ["level", "width"]) control(name).addEventListener("input", () => setWindow(Number(control("level").value), Number(control("width").value)));
  control("reset").addEventListener("click", reset);
  document.querySelectorAll("#legend li").forEach((item, k) => {
    const label = document.createElement("label"), tick = document.createElement("input");
    [tick.type, tick.checked] = ["checkbox", true];
    tick.addEventListener("change", () => { structures[k].shown = tick.checked; refresh(); });
    label.append(tick, ...item.childNodes);
    item.append(label);
  });

  const keys = {
    ArrowUp: () => move(state.plane, state.at[state.plane] - 1), ArrowDown: () => move(state.plane, state.at[state.plane] + 1),
    k: () => move(state.plane, state.at[state.plane] - 1), j: () => move(state.plane, state.at[state.plane] + 1),
    1: () => choose(2), 2: () => choose(1), 3: () => choose(0),
    p: () => flip("prediction"), t: () => flip("truth"), d: () => flip("disagreement"), f: () => flip("fill"), x: () => flip("cross"),
    "[": () => turn(0, 0.9), "]": () => turn(0, 1 / 0.9), "-": () => turn(0.02, 1), "+": () => turn(-0.02, 1), "=": () => turn(-0.02, 1), r: reset,
  };
  document.addEventListener("keydown", (event) => {
    if (typing(event) || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  window.addEventListener("resize", refresh);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  refresh();
})();
