"use strict";
// Linked CT viewer. Unpacks the images inside the page, windows them as DICOM says, and keeps all panes in step.
(() => {
  const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n >>> 0;
  });

  function crc32(bytes) {
    let crc = 0xffffffff;
    for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    return (crc ^ 0xffffffff) >>> 0;
  }

  // The values of a packed image: unfold what the median predictor left, pixel after pixel.
  function unpredicted(planes, width, height) {
    const n = width * height;
    const hu = new Int16Array(n);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const left = x ? hu[i - 1] : y ? hu[i - width] : 0;
        const up = y ? hu[i - width] : left;
        const corner = x && y ? hu[i - width - 1] : left;
        const low = left < up ? left : up;
        const high = left < up ? up : left;
        const sum = left + up - corner;
        const predicted = sum < low ? low : sum > high ? high : sum;
        const folded = planes[i] | (planes[i + n] << 8);
        hu[i] = predicted + ((folded >>> 1) ^ -(folded & 1));
      }
    }
    return hu;
  }

  async function unpack(image, width, height) {
    const [text, expected] = image;
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    if (planes.length !== 2 * width * height) throw new Error("an image has the wrong size");
    const hu = unpredicted(planes, width, height);
    const crc = crc32(littleEndian(hu));
    if (crc !== expected) throw new Error("an image does not have its checksum");
    return { hu, crc };
  }

  function littleEndian(hu) {
    if (new Uint8Array(Uint16Array.of(1).buffer)[0] === 1) return new Uint8Array(hu.buffer);
    const bytes = new DataView(new ArrayBuffer(hu.length * 2));
    hu.forEach((value, i) => bytes.setInt16(2 * i, value, true));
    return new Uint8Array(bytes.buffer);
  }

  // Grey value 0 to 255 of a value in HU: DICOM PS3.3 C.11.2.1.2.1, the linear function.
  function windowed(hu, center, width) {
    if (hu <= center - 0.5 - (width - 1) / 2) return 0;
    if (hu > center - 0.5 + (width - 1) / 2) return 255;
    return Math.round(((hu - (center - 0.5)) / (width - 1) + 0.5) * 255);
  }

  // Colour of a difference, as [r, g, b]: dark at zero, blue below it, orange above it.
  function differenceColour(share) {
    const stops = share < 0 ? [[20, 24, 29], [28, 92, 190], [150, 214, 255]] : [[20, 24, 29], [196, 84, 12], [255, 214, 140]];
    const at = Math.min(1, Math.abs(share)) * 2;
    const [from, to] = at < 1 ? [stops[0], stops[1]] : [stops[1], stops[2]];
    const along = at < 1 ? at : at - 1;
    return from.map((value, i) => Math.round(value + (to[i] - value) * along));
  }

  const packedColour = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

  // Colours of all 65536 values an image can hold.
  function greyTable(center, width) {
    return Uint32Array.from({ length: 65536 }, (_, i) => {
      const grey = windowed(i - 32768, center, width);
      return packedColour([grey, grey, grey]);
    });
  }

  function differenceTable(span) {
    return Uint32Array.from({ length: 2 * span + 1 }, (_, i) => packedColour(differenceColour((i - span) / span)));
  }

  const text = (value) => String(value).replace("-", "−");
  const signed = (value) => (value > 0 ? "+" : "") + text(value);

  const root = document.getElementById("viewer");
  if (!root) {
    window.lowdoseViewer = { windowed, differenceColour, unpack };
    return;
  }

  const source = JSON.parse(document.getElementById("images").textContent);
  const { width: nx, height: ny, arms, labels } = source;
  const full = { center: Math.round((source.range[0] + source.range[1] + 1) / 2), width: Math.max(2, source.range[1] - source.range[0] + 1) };
  const PRESETS = [
    { name: "Soft tissue", center: 40, width: 400 },
    { name: "Lung", center: -600, width: 1500 },
    { name: "Bone", center: 400, width: 2000 },
    { name: "Liver", center: 60, width: 150 },
    { name: "Full", ...full },
  ];
  const SPANS = [25, 50, 100, 200];
  const ZOOMS = [0, 1, 2, 3, 4, 6, 8, 12];
  const indexOf = (role) => arms.findIndex((arm) => arm.role === role);
  const reference = indexOf("reference");
  const input = indexOf("input");
  const MODES = [{ name: "Images", base: -1 }];
  if (reference >= 0 && arms.length > 1) MODES.push({ name: "Difference to " + arms[reference].name, base: reference });
  if (input >= 0 && arms.some((arm) => arm.role === "result")) MODES.push({ name: "Difference to " + arms[input].name, base: input });

  const start = { slice: Math.floor(labels.length / 2), center: 40, width: 400, mode: 0, span: 100, zoom: 0, x: nx / 2, y: ny / 2 };
  const state = { ...start, active: arms.length - 1, flickering: false, swapped: false, cursor: null };
  const images = arms.map(() => labels.map(() => null));
  const byId = (id) => document.getElementById(id);
  const panes = [...root.querySelectorAll(".pane")].map((element, arm) => {
    const sheet = document.createElement("canvas");
    sheet.width = nx;
    sheet.height = ny;
    const canvas = element.querySelector("canvas");
    return {
      arm, element, canvas, sheet, painted: "",
      context: canvas.getContext("2d", { alpha: false }),
      sheetContext: sheet.getContext("2d"),
      name: element.querySelector("figcaption span"),
      readout: element.querySelector(".hu"),
    };
  });
  let tables = { key: "", grey: null, difference: null };

  // The arm a pane shows: its own, or while flickering the one that came before it.
  function shownArm(pane) {
    if (!state.swapped || arms[pane.arm].role !== "result") return pane.arm;
    return input >= 0 ? input : reference >= 0 ? reference : pane.arm;
  }

  function baseArm(shown) {
    const base = MODES[state.mode].base;
    return base >= 0 && shown !== base ? base : -1;
  }

  // Paint the pixels of one pane into its sheet, one sheet pixel per image pixel.
  function paint(pane) {
    const shown = shownArm(pane);
    const base = baseArm(shown);
    const key = [state.slice, shown, base, base < 0 ? state.center + "/" + state.width : state.span].join();
    const hu = images[shown][state.slice];
    const under = base < 0 ? null : images[base][state.slice];
    if (!hu || (base >= 0 && !under)) return (pane.painted = "");
    if (pane.painted === key) return key;
    const tableKey = [state.center, state.width, state.span].join();
    if (tables.key !== tableKey) tables = { key: tableKey, grey: greyTable(state.center, state.width), difference: differenceTable(state.span) };
    const picture = pane.sheetContext.createImageData(nx, ny);
    const pixels = new Uint32Array(picture.data.buffer);
    if (under) {
      const { span } = state;
      for (let i = 0; i < pixels.length; i++) {
        const difference = hu[i] - under[i];
        pixels[i] = tables.difference[difference < -span ? 0 : difference > span ? 2 * span : difference + span];
      }
    } else {
      for (let i = 0; i < pixels.length; i++) pixels[i] = tables.grey[hu[i] + 32768];
    }
    pane.sheetContext.putImageData(picture, 0, 0);
    return (pane.painted = key);
  }

  // Device pixels per image pixel, and where the image's corner lies in the pane, in device pixels.
  function placed(pane) {
    const { width, height } = pane.canvas;
    const scale = state.zoom || Math.min(width / nx, height / ny);
    return { scale, left: Math.round(width / 2 - state.x * scale), top: Math.round(height / 2 - state.y * scale) };
  }

  function draw(pane) {
    const { canvas, context } = pane;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const shown = shownArm(pane);
    const base = baseArm(shown);
    if (paint(pane)) {
      const { scale, left, top } = placed(pane);
      context.imageSmoothingEnabled = !Number.isInteger(scale);
      context.imageSmoothingQuality = "high";
      context.drawImage(pane.sheet, left, top, Math.round(nx * scale), Math.round(ny * scale));
      cross(pane, left, top, scale, ratio);
    }
    pane.name.textContent = base < 0 ? arms[shown].name : arms[shown].name + " − " + arms[base].name;
    pane.element.style.setProperty("--shown", arms[shown].colour);
    canvas.setAttribute("aria-label", pane.name.textContent + ", " + labels[state.slice]);
    readout(pane, shown, base);
  }

  function cross(pane, left, top, scale, ratio) {
    if (!state.cursor || state.cursor.pane === pane.arm) return;
    const x = Math.round(left + (state.cursor.x + 0.5) * scale);
    const y = Math.round(top + (state.cursor.y + 0.5) * scale);
    const { context } = pane;
    const [gap, reach, thick] = [4 * ratio, 12 * ratio, Math.max(1, Math.round(ratio))];
    for (const [colour, edge] of [["#000000a0", thick], ["#fff", 0]]) {
      context.fillStyle = colour;
      for (const way of [-1, 1]) {
        const from = way < 0 ? -reach : gap;
        context.fillRect(x + from - edge, y - edge, reach - gap + 2 * edge, thick + 2 * edge);
        context.fillRect(x - edge, y + from - edge, thick + 2 * edge, reach - gap + 2 * edge);
      }
    }
  }

  function readout(pane, shown, base) {
    const at = state.cursor && state.cursor.y * nx + state.cursor.x;
    const hu = images[shown][state.slice];
    const under = base < 0 ? null : images[base][state.slice];
    pane.readout.textContent = "";
    if (at === null || !hu || (base >= 0 && !under)) return;
    pane.readout.textContent = under ? signed(hu[at] - under[at]) + " HU " : text(hu[at]) + " HU ";
    if (pane.arm === state.cursor.pane) {
      const place = document.createElement("small");
      place.textContent = "column " + state.cursor.x + ", row " + state.cursor.y;
      pane.readout.append(place);
    }
  }

  let waiting = false;
  function update() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      panes.forEach(draw);
      controls();
    });
  }

  function controls() {
    byId("slice").value = state.slice;
    byId("slice").setAttribute("aria-valuetext", labels[state.slice]);
    byId("slice-label").textContent = labels[state.slice].charAt(0).toUpperCase() + labels[state.slice].slice(1);
    for (const name of ["center", "width"]) {
      byId(name).value = state[name];
      byId(name + "-value").textContent = text(state[name]) + " HU";
    }
    byId("zoom-value").textContent = state.zoom ? state.zoom + "×" : "fit";
    byId("span-low").textContent = text(-state.span);
    byId("span-high").textContent = "+" + state.span + " HU";
    root.classList.toggle("differences", MODES[state.mode].base >= 0);
    press("presets", PRESETS.findIndex((preset) => preset.center === state.center && preset.width === state.width));
    press("modes", state.mode);
    press("spans", SPANS.indexOf(state.span));
    press("tabs", state.active);
    panes.forEach((pane) => pane.element.classList.toggle("active", pane.arm === state.active));
    byId("flicker").setAttribute("aria-pressed", state.flickering);
  }

  function press(group, chosen) {
    [...byId(group).children].forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
  }

  function set(changes) {
    Object.assign(state, changes);
    state.slice = Math.max(0, Math.min(labels.length - 1, state.slice));
    state.center = Math.max(-32768, Math.min(32767, Math.round(state.center)));
    state.width = Math.max(2, Math.min(65536, Math.round(state.width)));
    state.x = Math.max(0, Math.min(nx, state.x));
    state.y = Math.max(0, Math.min(ny, state.y));
    update();
  }

  // Zoom by one step, keeping the image point under `anchor` (pane and device pixels) where it is.
  function zoomBy(step, anchor) {
    const pane = anchor ? anchor.pane : panes[state.active];
    const now = placed(pane);
    const bigger = ZOOMS.filter((zoom) => zoom > now.scale + 1e-6);
    const smaller = ZOOMS.filter((zoom) => zoom && zoom < now.scale - 1e-6);
    const fit = Math.min(pane.canvas.width / nx, pane.canvas.height / ny);
    let zoom = step > 0 ? bigger[0] ?? state.zoom : smaller[smaller.length - 1] ?? 0;
    if (step < 0 && (zoom <= fit || !state.zoom)) zoom = 0;
    if (!zoom) return set({ zoom: 0, x: nx / 2, y: ny / 2 });
    const from = anchor || { left: pane.canvas.width / 2, top: pane.canvas.height / 2 };
    const x = (from.left - now.left) / now.scale;
    const y = (from.top - now.top) / now.scale;
    return set({ zoom, x: x + (pane.canvas.width / 2 - from.left) / zoom, y: y + (pane.canvas.height / 2 - from.top) / zoom });
  }

  function device(pane, event) {
    const box = pane.canvas.getBoundingClientRect();
    const ratio = pane.canvas.width / box.width;
    return { pane, left: (event.clientX - box.left) * ratio, top: (event.clientY - box.top) * ratio, ratio };
  }

  function point(pane, event) {
    const at = device(pane, event);
    const { scale, left, top } = placed(pane);
    const x = Math.floor((at.left - left) / scale);
    const y = Math.floor((at.top - top) / scale);
    const cursor = x >= 0 && y >= 0 && x < nx && y < ny ? { pane: pane.arm, x, y } : null;
    set({ cursor });
  }

  function listen(pane) {
    const { element } = pane;
    const touches = new Map();
    let drag = null;
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (!event.deltaY) return;
      if (event.ctrlKey || event.metaKey) zoomBy(event.deltaY < 0 ? 1 : -1, device(pane, event));
      else set({ slice: state.slice + Math.sign(event.deltaY) });
    }, { passive: false });
    element.addEventListener("dblclick", (event) => zoomBy(1, device(pane, event)));
    element.addEventListener("pointerdown", (event) => {
      root.focus({ preventScroll: true });
      if (event.pointerType === "touch") {
        touches.set(event.pointerId, [event.clientX, event.clientY]);
        return point(pane, event);
      }
      element.setPointerCapture(event.pointerId);
      element.classList.add("moving");
      drag = { button: event.button, x: event.clientX, y: event.clientY, from: { ...state }, at: placed(pane), ratio: device(pane, event).ratio };
    });
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return pinch(event);
      if (drag) {
        const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
        if (drag.button === 2) set({ width: drag.from.width + 2 * dx, center: drag.from.center + dy });
        else if (state.zoom) set({ x: drag.from.x - (dx * drag.ratio) / drag.at.scale, y: drag.from.y - (dy * drag.ratio) / drag.at.scale });
      }
      point(pane, event);
    });
    const release = (event) => {
      touches.delete(event.pointerId);
      element.classList.remove("moving");
      drag = null;
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("pointercancel", release);
    element.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && set({ cursor: null }));

    let spread = 0;
    function pinch(event) {
      if (!touches.has(event.pointerId)) return;
      const [x, y] = touches.get(event.pointerId);
      touches.set(event.pointerId, [event.clientX, event.clientY]);
      if (touches.size !== 2) return point(pane, event);
      const [a, b] = [...touches.values()];
      const now = Math.hypot(a[0] - b[0], a[1] - b[1]);
      const middle = device(pane, { clientX: (a[0] + b[0]) / 2, clientY: (a[1] + b[1]) / 2 });
      if (!spread || Math.abs(Math.log(now / spread)) > 0.3) {
        if (spread) zoomBy(now > spread ? 1 : -1, middle);
        spread = now;
      } else if (state.zoom) {
        const { scale } = placed(pane);
        set({ x: state.x - ((event.clientX - x) * middle.ratio) / scale / 2, y: state.y - ((event.clientY - y) * middle.ratio) / scale / 2 });
      }
    }
  }

  let beat = null;
  function flicker(on) {
    if (on === state.flickering) return;
    clearInterval(beat);
    set({ flickering: on, swapped: on });
    if (on) beat = setInterval(() => set({ swapped: !state.swapped }), 450);
  }

  function help(open) {
    byId("help").hidden = !open;
    byId("help-button").setAttribute("aria-expanded", open);
  }

  const KEYS = {
    ArrowRight: () => set({ slice: state.slice + 1 }),
    ArrowDown: () => set({ slice: state.slice + 1 }),
    ArrowLeft: () => set({ slice: state.slice - 1 }),
    ArrowUp: () => set({ slice: state.slice - 1 }),
    Home: () => set({ slice: 0 }),
    End: () => set({ slice: labels.length - 1 }),
    "+": () => zoomBy(1),
    "=": () => zoomBy(1),
    "-": () => zoomBy(-1),
    0: () => set({ zoom: 0, x: nx / 2, y: ny / 2 }),
    d: () => set({ mode: (state.mode + 1) % MODES.length }),
    f: () => flicker(true),
    r: () => set(start),
    "?": () => help(byId("help").hidden),
    Escape: () => help(false),
  };
  PRESETS.forEach((preset, i) => { KEYS[i + 1] = () => set({ center: preset.center, width: preset.width }); });

  function buttons(group, names, act, colour) {
    names.forEach((name, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      if (colour) button.style.setProperty("--arm", colour(i));
      button.addEventListener("click", () => act(i));
      byId(group).append(button);
    });
  }

  function connect() {
    buttons("presets", PRESETS.map((preset) => preset.name), (i) => KEYS[i + 1]());
    [...byId("presets").children].forEach((button, i) => { button.title = "centre " + text(PRESETS[i].center) + ", width " + PRESETS[i].width + " HU (" + (i + 1) + ")"; });
    buttons("modes", MODES.map((mode) => mode.name), (mode) => set({ mode }));
    buttons("spans", SPANS.map((span) => "±" + span), (i) => set({ span: SPANS[i] }));
    buttons("tabs", arms.map((arm) => arm.name), (active) => set({ active }), (i) => arms[i].colour);
    const ramp = Array.from({ length: 21 }, (_, i) => "rgb(" + differenceColour((i - 10) / 10).join() + ")");
    root.style.setProperty("--ramp", "linear-gradient(90deg, " + ramp.join() + ")");
    byId("slice").addEventListener("input", (event) => set({ slice: +event.target.value }));
    for (const name of ["center", "width"]) byId(name).addEventListener("input", (event) => set({ [name]: +event.target.value }));
    byId("zoom-in").addEventListener("click", () => zoomBy(1));
    byId("zoom-out").addEventListener("click", () => zoomBy(-1));
    byId("zoom-fit").addEventListener("click", KEYS[0]);
    byId("help-button").addEventListener("click", KEYS["?"]);
    byId("flicker").addEventListener("pointerdown", () => flicker(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) byId("flicker").addEventListener(end, () => flicker(false));
    byId("flicker").hidden = !arms.some((arm) => arm.role === "result") || arms.length < 2;
    panes.forEach(listen);
    let over = false;
    root.addEventListener("pointerenter", () => { over = true; });
    root.addEventListener("pointerleave", () => { over = false; });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (!over && !root.contains(document.activeElement)) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (event.target.type === "range" && /^(Arrow|Home|End)/.test(key)) return;
      if (!Object.hasOwn(KEYS, key)) return;
      event.preventDefault();
      KEYS[key]();
    });
    document.addEventListener("keyup", (event) => event.key.toLowerCase() === "f" && flicker(false));
    window.addEventListener("blur", () => flicker(false));
    window.addEventListener("resize", update);
    window.addEventListener("beforeprint", () => panes.forEach(draw));
    if (window.ResizeObserver) new ResizeObserver(update).observe(byId("panes"));
  }

  // Unpack the slice in view first, then its neighbours, and say so if any image is not what it was.
  async function load() {
    const order = labels.map((_, k) => k).sort((a, b) => Math.abs(a - state.slice) - Math.abs(b - state.slice));
    const checksums = arms.map(() => []);
    let damaged = 0;
    for (const k of order) {
      await Promise.all(arms.map(async (arm, a) => {
        try {
          const { hu, crc } = await unpack(arm.images[k], nx, ny);
          images[a][k] = hu;
          checksums[a][k] = crc;
          arm.images[k] = null;
        } catch {
          damaged += 1;
        }
      }));
      update();
    }
    byId("message").textContent = damaged ? damaged + (damaged === 1 ? " image in this file is" : " images in this file are") + " damaged and not shown; make the report again." : "";
    root.dataset.checksums = JSON.stringify(checksums);
    root.dataset.state = damaged ? "damaged" : "ready";
  }

  connect();
  update();
  if (typeof DecompressionStream === "undefined") {
    byId("message").textContent = "This browser cannot unpack the images; use Firefox 113, Safari 16.4, Chrome or Edge 103, or a later one.";
    root.dataset.state = "unsupported";
  } else load();
})();
