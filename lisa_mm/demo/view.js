// The answer of one model: text, picture, masks. Gradio calls this as the body of a function of (element, props, watch).
// Masks come as logits in grey values (lisa_mm/demo/layers.py), so that sliders and clicks redraw without the server.
'use strict';
const ZERO = 128, STEPS = 16;
const WIDEST = 1600, TALLEST = 0.62; // pixels of the canvas; share of the window's height
const find = (name) => element.querySelector(name);
const canvas = find('canvas'), stage = find('.lm-stage'), legend = find('.lm-legend');
const opacity = find('[name=opacity]'), threshold = find('[name=threshold]');
const images = new Map(); // address -> HTMLImageElement, of the value that is shown
const hidden = new Set();
let value = props.value, masks = [], version = 0, pending = false;

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function chip(index) {
  const layer = value.layers[index];
  const node = make('span', 'lm-chip', `[SEG] ${index + 1}`);
  node.title = `mask ${index + 1}`;
  if (layer) Object.assign(node.style, { background: layer.color, color: layer.ink });
  return node;
}

function showTalk() {
  const talk = find('.lm-talk');
  talk.replaceChildren(...value.exchanges.map((exchange, number) => {
    const isLast = number === value.exchanges.length - 1;
    const block = make('div', isLast ? 'lm-exchange' : 'lm-exchange lm-earlier');
    block.append(make('p', 'lm-question', exchange.question));
    if (exchange.asked) block.append(make('p', 'lm-asked', `Asked as: ${exchange.asked}`));
    const answer = make('p', 'lm-answer');
    for (const [text, index] of exchange.pieces) answer.append(index === null ? text : chip(index));
    if (isLast && value.busy) answer.append(make('span', 'lm-caret'));
    block.append(answer);
    if (exchange.note) block.append(make('p', 'lm-note', exchange.note));
    return block;
  }));
  talk.scrollTop = talk.scrollHeight;
  talk.tabIndex = talk.scrollHeight > talk.clientHeight ? 0 : -1; // what scrolls can be scrolled by keys
}

function showLegend() {
  value.layers.forEach((layer, index) => {
    let button = legend.children[index]?.firstChild;
    if (!button) {
      const item = make('li');
      button = make('button', 'lm-entry');
      button.type = 'button';
      for (const name of ['lm-number', 'lm-label', 'lm-score', 'lm-area', 'lm-eye']) button.append(make('span', name));
      button.addEventListener('click', () => toggle(index));
      item.append(button);
      legend.append(item);
    }
    const [number, label] = button.children;
    number.textContent = index + 1;
    Object.assign(number.style, { background: layer.color, color: layer.ink });
    label.textContent = layer.label;
    label.title = layer.label;
  });
  while (legend.children.length > value.layers.length) legend.lastChild.remove();
}

function showFigures() {
  masks.forEach((mask, index) => {
    const button = legend.children[index]?.firstChild;
    if (!button) return;
    const [, , score, area, eye] = button.children, isShown = !hidden.has(index);
    score.textContent = `score ${mask.score.toFixed(2)}`;
    area.textContent = `area ${(100 * mask.area).toFixed(1)} %`;
    eye.textContent = isShown ? 'shown' : 'hidden';
    button.setAttribute('aria-pressed', isShown);
  });
  const names = masks.map((mask, index) => `${index + 1}: ${value.layers[index].label}${hidden.has(index) ? ', hidden' : ''}`);
  canvas.setAttribute('aria-label', !value.picture ? 'No image yet' : names.length ? `The image with masks. ${names.join('; ')}` : 'The image');
}

function toggle(index) {
  hidden.has(index) ? hidden.delete(index) : hidden.add(index);
  schedule();
}

// The address of the download has the threshold, so that the files are what is seen.
function showDownload() {
  const link = find('.lm-download');
  link.hidden = !value.download;
  if (value.download) link.href = `${value.download}?threshold=${threshold.value}`;
  else link.removeAttribute('href');
}

async function load(address) {
  if (!images.has(address)) {
    const image = new Image();
    image.src = address;
    images.set(address, image);
  }
  const image = images.get(address);
  await image.decode();
  return image;
}

function surface(width, height) {
  const made = document.createElement('canvas');
  [made.width, made.height] = [width, height];
  return made.getContext('2d', { willReadFrequently: true });
}

// Grey values of an image at a size, Uint8Array.
function greys(image, width, height) {
  const context = surface(width, height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const found = new Uint8Array(width * height);
  for (let i = 0; i < found.length; i++) found[i] = data[4 * i];
  return found;
}

// Distance of each pixel to the nearest one where `is` differs from `of`; beyond the edge of the image all pixels are outside.
function distances(inside, width, height, of) {
  const far = width + height, edge = of ? 1 : far, near = new Float32Array(width * height);
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? edge - 1 : near[y * width + x]);
  const visit = (x, y, step) => {
    const i = y * width + x;
    if (step > 0) near[i] = inside[i] === of ? far : 0;
    if (near[i] === 0) return;
    near[i] = Math.min(near[i], at(x - step, y) + 1, at(x, y - step) + 1, at(x - step, y - step) + 1.41, at(x + step, y - step) + 1.41);
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) visit(x, y, 1);
  for (let y = height - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--) visit(x, y, -1);
  return near;
}

const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

// Score and area come from the map as it was sent; what is drawn, from the map at the size of the canvas.
function measure(image, cut, width, height) {
  const own = greys(image, image.naturalWidth, image.naturalHeight);
  let count = 0, sum = 0;
  for (const grey of own) {
    if (grey > cut) {
      count += 1;
      sum += 1 / (1 + Math.exp((ZERO - grey) / STEPS));
    }
  }
  const scaled = greys(image, width, height), inside = new Uint8Array(scaled.length);
  for (let i = 0; i < inside.length; i++) inside[i] = scaled[i] > cut ? 1 : 0;
  return { inside, area: count / own.length, score: count ? sum / count : 0 };
}

function blend(pixels, index, color, alpha) {
  for (let c = 0; c < 3; c++) pixels[4 * index + c] = Math.round(pixels[4 * index + c] * (1 - alpha) + color[c] * alpha);
}

// As lisa_mm.drawing.draw_answer: a dark line just outside, a light one and one of the mask's colour just inside.
function drawMasks(context, width, height, line) {
  const picture = context.getImageData(0, 0, width, height), pixels = picture.data, alpha = opacity.value / 100;
  const order = masks.map((_, k) => k).filter((k) => !hidden.has(k)).sort((a, b) => masks[b].area - masks[a].area);
  for (const k of order) {
    const color = channels(value.layers[k].color);
    masks[k].inside.forEach((is, i) => is && blend(pixels, i, color, alpha));
  }
  for (const k of order) {
    const { inside } = masks[k], layer = value.layers[k], color = channels(layer.color);
    masks[k].depth ??= distances(inside, width, height, 1);
    masks[k].away ??= distances(inside, width, height, 0);
    for (let i = 0; i < inside.length; i++) {
      if (!inside[i]) {
        if (masks[k].away[i] < line + 0.5) blend(pixels, i, [16, 16, 16], 1);
      } else if (masks[k].depth[i] < line + 0.5 && !layer.is_light) blend(pixels, i, [255, 255, 255], 1);
      else if (masks[k].depth[i] < 2 * line + 0.5) blend(pixels, i, color, 1);
    }
  }
  context.putImageData(picture, 0, 0);
  return order;
}

function drawNumber(context, k, width, scale) {
  let deepest = 0;
  const { depth } = masks[k];
  for (let i = 1; i < depth.length; i++) if (depth[i] > depth[deepest]) deepest = i;
  if (!masks[k].inside[deepest]) return;
  const x = deepest % width, y = Math.floor(deepest / width), radius = 11 * scale, layer = value.layers[k];
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = layer.color;
  context.fill();
  context.lineWidth = 1.5 * scale;
  context.strokeStyle = layer.ink;
  context.stroke();
  context.fillStyle = layer.ink;
  context.font = `700 ${13 * scale}px system-ui, sans-serif`;
  [context.textAlign, context.textBaseline] = ['center', 'middle'];
  context.fillText(String(k + 1), x, y + 0.5 * scale);
}

// Pixels of the screen for an image: as wide as its column, not higher than most of the window.
function sizeOf(image) {
  const room = stage.clientWidth, ratio = image.naturalHeight / image.naturalWidth;
  const width = Math.max(1, Math.min(room, (TALLEST * window.innerHeight) / ratio));
  const scale = Math.min(window.devicePixelRatio || 1, WIDEST / Math.max(width, width * ratio));
  return { width, scale, pixels: [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(width * ratio * scale))] };
}

async function draw() {
  pending = false;
  const mine = ++version, shown = value;
  find('.lm-empty').hidden = Boolean(shown.picture);
  canvas.hidden = !shown.picture;
  find('.lm-masks').hidden = !shown.layers.length;
  if (!shown.picture) return showFigures();
  const [image, ...maps] = await Promise.all([shown.picture, ...shown.layers.map((layer) => layer.map)].map(load));
  if (mine !== version) return; // a newer value or size is being drawn
  for (const address of images.keys()) {
    if (address !== shown.picture && !shown.layers.some((layer) => layer.map === address)) images.delete(address);
  }
  const { width, scale, pixels: [w, h] } = sizeOf(image);
  const probability = Number(threshold.value), cut = ZERO + STEPS * Math.log(probability / (1 - probability));
  const kept = masks;
  masks = maps.map((map, k) => {
    const key = `${w} ${h} ${cut}`, old = kept[k];
    return old && old.map === map && old.key === key ? old : { ...measure(map, cut, w, h), map, key };
  });
  const made = surface(w, h); // drawn aside, so that the canvas is never seen half done
  made.imageSmoothingQuality = 'high';
  made.drawImage(image, 0, 0, w, h);
  const order = drawMasks(made, w, h, Math.max(1, Math.round(1.4 * scale)));
  for (const k of order) drawNumber(made, k, w, scale);
  [canvas.width, canvas.height] = [w, h];
  canvas.style.width = `${width}px`;
  canvas.getContext('2d').drawImage(made.canvas, 0, 0);
  showFigures();
  canvas.dataset.drawn = JSON.stringify({ masks: masks.length, hidden: [...hidden], threshold: probability, opacity: Number(opacity.value) });
}

function schedule() {
  if (!pending) requestAnimationFrame(draw);
  pending = true;
}

function show() {
  if (props.value.serial < value.serial) return; // a word of an answer that was stopped came late
  value = props.value;
  if (!value.layers.length) hidden.clear();
  find('h2').textContent = value.model;
  find('.lm-view').setAttribute('aria-label', `Answers of ${value.model}`);
  find('.lm-state').textContent = value.busy ? 'answering' : '';
  const error = find('.lm-error');
  error.textContent = value.error;
  error.hidden = !value.error;
  showTalk();
  showLegend();
  showDownload();
  schedule();
}

canvas.addEventListener('click', (event) => {
  const box = canvas.getBoundingClientRect();
  const x = Math.min(canvas.width - 1, Math.floor(((event.clientX - box.left) / box.width) * canvas.width));
  const y = Math.min(canvas.height - 1, Math.floor(((event.clientY - box.top) / box.height) * canvas.height));
  const under = masks.map((_, k) => k).filter((k) => masks[k].inside[y * canvas.width + x]);
  under.sort((a, b) => hidden.has(a) - hidden.has(b) || masks[a].area - masks[b].area);
  if (under.length) toggle(under[0]); // of several the smallest that is shown
});
for (const slider of [opacity, threshold]) {
  slider.addEventListener('input', () => {
    slider.nextElementSibling.textContent = slider === opacity ? `${slider.value} %` : Number(slider.value).toFixed(2);
    showDownload();
    schedule();
  });
}
new ResizeObserver(schedule).observe(stage);
watch('value', show);
show();
